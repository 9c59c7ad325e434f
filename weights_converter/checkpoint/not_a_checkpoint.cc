// Names what a file is that is no checkpoint, and says what to do about it.
#include <algorithm>
#include <cctype>

#include "weights_converter/checkpoint/byte_reader.h"
#include "weights_converter/checkpoint/readers.h"

namespace lightcap::internal {
namespace {

struct Known {
  size_t offset;
  std::string_view magic;
  const char* message;
};

using namespace std::string_view_literals;

constexpr Known kKnown[] = {
    {0, "version https://git-lfs",
     "a Git-LFS pointer, not the file itself; run 'git lfs pull' in its repository, or download "
     "the "
     "file from its web page"},
    {0, "\x1f\x8b", "a gzip archive; unpack it (gunzip, or tar -xzf) and name the file inside"},
    {0, "BZh", "a bzip2 archive; unpack it (bunzip2) and name the file inside"},
    {0,
     "\xfd"
     "7zXZ",
     "an xz archive; unpack it (unxz) and name the file inside"},
    {0, "\x28\xb5\x2f\xfd", "a zstd archive; unpack it (unzstd) and name the file inside"},
    {0, "7z\xbc\xaf", "a 7z archive; unpack it and name the file inside"},
    {0, "Rar!", "a rar archive; unpack it and name the file inside"},
    {0, "PK\x05\x06", "an empty zip archive; get the file again"},
    {0, "PYTORCH1",
     "a PyTorch 1.0 preview archive, which no released PyTorch reads; save the model again"},
    {0, "LCW\r\n", "a LightCap weights file, converted already; pass it to lightcap --model"},
    {0, "GGUF",
     "a GGUF model of llama.cpp, not a PyTorch checkpoint; use the model it was made from"},
    {4, "TFL3",
     "a TensorFlow Lite model, not a PyTorch checkpoint; use the PyTorch model it was made from"},
    {0, "\x89HDF",
     "an HDF5 file (Keras or TensorFlow), not a PyTorch checkpoint; convert it first"},
    {0, "\x93NUMPY",
     "a NumPy array, not a PyTorch checkpoint; save it as safetensors or with torch.save"},
    {0, "model_checkpoint_path",
     "TensorFlow's list of checkpoints; convert the TensorFlow checkpoint to PyTorch first"},
    {0, "\x89PNG", "a PNG picture, expected a checkpoint"},
    {0, "\xff\xd8\xff", "a JPEG picture, expected a checkpoint"},
    {0, "%PDF", "a PDF document, expected a checkpoint"},
    {0,
     "\x7f"
     "ELF",
     "a program or library, expected a checkpoint"},
};

std::string_view head(std::span<const uint8_t> file, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()),
                              std::min(file.size(), size));
  return text;
}

bool has_text(std::string_view haystack, std::string_view needle) {
  return std::search(haystack.begin(), haystack.end(), needle.begin(), needle.end(),
                     [](unsigned char a, unsigned char b) { return std::tolower(a) == b; }) !=
         haystack.end();
}

void check_markup(std::string_view text) {
  const size_t first = text.find_first_not_of("\xef\xbb\xbf \t\r\n");
  if (first == std::string_view::npos || text[first] != '<') return;
  if (has_text(text, "<html") || has_text(text, "<!doctype html")) {
    fail_checkpoint(
        "an HTML page, not a checkpoint: the download ended at a login or error page; open the "
        "link in a browser, or get the file again from its direct link");
  }
  fail_checkpoint(
      "an XML document (often a server's error message), not a checkpoint; look at it "
      "in an editor and get the file again");
}

// Protocol buffers have no magic number: field 1 (a small number, the version) and then text that
// only these writers leave near the start.
void check_protobuf(std::string_view text) {
  const bool version_first = text.size() > 4 && text[0] == 8 && text[1] > 0 && text[1] < 32;
  if (version_first && (text[2] == 0x12 || text[2] == 0x3a)) {
    fail_checkpoint(
        "an ONNX model, not a PyTorch checkpoint; use the PyTorch model that it was "
        "exported from");
  }
  if (has_text(text, "tensorflow") || has_text(text, "saved_model") ||
      (text[0] == '\n' && has_text(text, "placeholder"))) {
    fail_checkpoint("a TensorFlow model, not a PyTorch checkpoint; convert it to PyTorch first");
  }
}

// LevelDB's table format, at the end of a TensorFlow checkpoint's .index file.
void check_tensorflow_index(std::span<const uint8_t> file) {
  constexpr auto kMagic = "\x57\xfb\x80\x8b\x24\x75\x47\xdb"sv;
  if (file.size() < kMagic.size()) return;
  const std::string_view end(
      reinterpret_cast<const char*>(file.data()) + file.size() - kMagic.size(), kMagic.size());
  if (end == kMagic) {
    fail_checkpoint("the index of a TensorFlow checkpoint; convert it to PyTorch first");
  }
}

}  // namespace

void fail_not_a_checkpoint(std::span<const uint8_t> file) {
  if (file.empty()) {
    fail_checkpoint("the file is empty: the download or copy failed, get it again");
  }
  constexpr size_t kLook = 4096;
  const std::string_view text = head(file, kLook);
  for (const Known& known : kKnown) {
    if (text.size() > known.offset && text.substr(known.offset).starts_with(known.magic)) {
      fail_checkpoint(known.message);
    }
  }
  check_markup(text);
  check_protobuf(text);
  check_tensorflow_index(file);
  if (std::all_of(text.begin(), text.end(), [](char c) { return c == 0; })) {
    fail_checkpoint("the file begins with zeros only: an interrupted download, get it again");
  }
  if (file[0] == 0x80 && file.size() > 1 && file[1] <= 5) {
    fail_checkpoint(
        "a plain Python pickle, not a file of torch.save; load it in Python and save its tensors "
        "with torch.save or as safetensors");
  }
  if (std::all_of(text.begin(), text.end(),
                  [](unsigned char c) { return c >= ' ' || std::isspace(c); })) {
    fail_checkpoint("a text file that begins with '" + excerpt(text.substr(0, 40)) +
                    "', expected a checkpoint (.pt, .pth, .bin, .safetensors)");
  }
  fail_checkpoint(
      "no checkpoint that LightCap knows (torch.save of any age, TorchScript, "
      "safetensors); the file begins with '" +
      excerpt(text.substr(0, 16)) + "'");
}

}  // namespace lightcap::internal
