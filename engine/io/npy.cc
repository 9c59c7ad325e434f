#include "engine/io/npy.h"

#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "engine/io/file.h"
#include "engine/runtime/error.h"

namespace lightcap::internal {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr char kMagic[] = "\x93NUMPY\x01";  // and a 0, minor version
constexpr size_t kPrefix = 10;              // magic, version, u16 length of the header's text

}  // namespace

void write_npy(const std::string& path, const float* data, const std::vector<size_t>& dims) {
  size_t count = 1;
  std::string shape;
  for (const size_t dim : dims) {
    count *= dim;
    shape += std::to_string(dim) + ",";
  }
  std::string text = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + shape + "), }";
  // Padded so that the data is aligned to 64 bytes, and ended by a newline.
  text.append(63 - (kPrefix + text.size()) % 64, ' ');
  text += '\n';
  const auto length = static_cast<uint16_t>(text.size());
  std::string header(kMagic, sizeof kMagic);
  header.append(reinterpret_cast<const char*>(&length), sizeof length);
  header += text;

  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "wb"), &std::fclose);
  if (file == nullptr ||
      std::fwrite(header.data(), 1, header.size(), file.get()) != header.size() ||
      std::fwrite(data, sizeof(float), count, file.get()) != count ||
      std::fflush(file.get()) != 0) {
    throw Error(ErrorCode::kOutput, path + ": cannot write the array: " + std::strerror(errno));
  }
}

NpyArray read_npy(const std::string& path) {
  const std::vector<uint8_t> bytes = read_file(path, ErrorCode::kInput);
  const auto fail = [&](const char* what) { throw Error(ErrorCode::kInput, path + ": " + what); };
  if (bytes.size() < kPrefix || std::memcmp(bytes.data(), kMagic, sizeof kMagic) != 0) {
    fail("not a .npy file of version 1.0");
  }
  uint16_t length;
  std::memcpy(&length, bytes.data() + sizeof kMagic, sizeof length);
  if (length > bytes.size() - kPrefix) fail("the header is cut short");
  const std::string text(reinterpret_cast<const char*>(bytes.data() + kPrefix), length);
  if (text.find("'<f4'") == std::string::npos ||
      text.find("'fortran_order': False") == std::string::npos) {
    fail("not a row-major float32 array");
  }
  NpyArray array;
  const size_t open = text.find('(');
  if (open == std::string::npos) fail("the header has no shape");
  size_t count = 1;
  for (const char* at = text.c_str() + open + 1; *at != ')' && *at != '\0';) {
    char* end = nullptr;
    const unsigned long long dim = std::strtoull(at, &end, 10);
    if (end == at) {
      ++at;
      continue;
    }
    at = end;
    if (dim > bytes.size()) fail("the shape is larger than the file");
    array.dims.push_back(static_cast<size_t>(dim));
    count *= static_cast<size_t>(dim);
    if (count > bytes.size()) fail("the shape is larger than the file");
  }
  if (bytes.size() - kPrefix - length != count * sizeof(float))
    fail("the data is not as long as the shape says");
  array.data.resize(count);
  std::memcpy(array.data.data(), bytes.data() + kPrefix + length, count * sizeof(float));
  return array;
}

}  // namespace lightcap::internal
