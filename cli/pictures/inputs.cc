#include "cli/pictures/inputs.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "engine/platform/platform.h"
#include "engine/runtime/error.h"

namespace lightcap::internal::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 7> kEndings = {".jpg", ".jpeg", ".png", ".bmp",
                                                      ".ppm", ".pgm",  ".pnm"};

bool is_picture(const fs::path& path) {
  std::string ending = path.extension().string();
  for (char& c : ending) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return std::find(kEndings.begin(), kEndings.end(), ending) != kEndings.end();
}

// The contents of one folder.
struct Folder {
  std::vector<std::string> pictures, folders;
  size_t linked_folders = 0;
  std::error_code error;
};

Folder list_folder(const std::string& path) {
  Folder found;
  std::vector<std::string> names;
  if (!platform::list_names(path, names))
    found.error = std::error_code(errno, std::generic_category());
  for (const std::string& name : names) {
    const fs::path entry = fs::path(path) / name;
    std::error_code unknown;  // such as of a link to nowhere, which is neither
    if (fs::is_directory(entry, unknown)) {
      // A link may lead back to a folder that it lies in.
      if (fs::is_symlink(entry, unknown)) {
        ++found.linked_folders;
      } else {
        found.folders.push_back(entry.string());
      }
    } else if (is_picture(entry) && fs::is_regular_file(entry, unknown)) {
      found.pictures.push_back(entry.string());
    }
  }
  return found;
}

std::string counted(size_t count, const std::string& what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

void add_folder(const std::string& argument, bool recursive, Inputs& inputs) {
  std::vector<std::string> pictures, waiting = {argument};
  size_t skipped = 0, linked = 0, unreadable = 0;
  while (!waiting.empty()) {
    const std::string path = std::move(waiting.back());
    waiting.pop_back();
    Folder found = list_folder(path);
    if (found.error) {
      inputs.pictures.push_back(
          {path, path + ": cannot list the folder: " + found.error.message()});
      ++unreadable;
    }
    std::move(found.pictures.begin(), found.pictures.end(), std::back_inserter(pictures));
    if (recursive) {
      std::move(found.folders.begin(), found.folders.end(), std::back_inserter(waiting));
      linked += found.linked_folders;
    } else {
      skipped += found.folders.size() + found.linked_folders;
    }
  }
  if (skipped > 0) {
    inputs.notes.push_back(argument + ": " + counted(skipped, "sub-folder") +
                           " skipped; -r takes the pictures in sub-folders too");
  }
  if (linked > 0)
    inputs.notes.push_back(argument + ": " + counted(linked, "link") + " to folders skipped");
  if (pictures.empty() && unreadable == 0) {
    std::string endings;
    for (const std::string_view ending : kEndings) endings.append(" ").append(ending);
    inputs.pictures.push_back(
        {argument, argument + ": the folder holds no pictures; looked for" + endings});
  }
  std::sort(pictures.begin(), pictures.end());
  for (std::string& picture : pictures) inputs.pictures.push_back({std::move(picture), ""});
}

void add_matches(const std::string& pattern, std::vector<Input>& pictures) {
  std::vector<std::string> matches;
  if (!platform::find_matches(pattern, matches))
    pictures.push_back({pattern, pattern + ": no file matches"});
  for (std::string& match : matches) pictures.push_back({std::move(match), ""});
}

// Reads to the end; more than max_bytes are an error.
std::vector<uint8_t> read_to_end(const platform::File& file, const std::string& name,
                                 size_t max_bytes) {
  const auto refuse = [&](const std::string& size) {
    throw Error(ErrorCode::kInput, name + ": the picture has " + size + " bytes, the limit is " +
                                       std::to_string(max_bytes));
  };
  constexpr size_t kPiece = size_t{1} << 16;
  size_t room = kPiece;
  const auto status = file.status();
  if (status && status->kind == platform::FileKind::kRegular && status->size > 0) {
    if (status->size > max_bytes) refuse(std::to_string(status->size));
    room = static_cast<size_t>(status->size) + 1;  // in the one byte more the file's end shows
  }
  std::vector<uint8_t> bytes;
  while (true) {
    const size_t before = bytes.size();
    bytes.resize(before + room);
    const ptrdiff_t got = file.read({bytes.data() + before, room});
    if (got < 0) throw Error(ErrorCode::kInput, name + ": cannot read it: " + std::strerror(errno));
    bytes.resize(before + static_cast<size_t>(got));
    if (got == 0) return bytes;
    if (bytes.size() > max_bytes) refuse("more than " + std::to_string(max_bytes));
    room = bytes.size() < bytes.capacity() ? bytes.capacity() - bytes.size() : kPiece;
  }
}

std::optional<platform::FileStatus> examine(const std::string& path) {
  return path == kStandardInput ? platform::File::standard_input().status()
                                : platform::status(path);
}

}  // namespace

Inputs expand_inputs(const std::vector<std::string>& arguments, bool recursive) {
  if (std::count(arguments.begin(), arguments.end(), kStandardInput) > 1) {
    throw Error(ErrorCode::kUsage, "-, which is standard input, can be given once only");
  }
  Inputs inputs;
  for (const std::string& argument : arguments) {
    std::error_code error;
    const fs::file_status status = fs::status(argument, error);
    if (argument == kStandardInput) {
      inputs.pictures.push_back({argument, ""});
    } else if (fs::is_directory(status)) {
      add_folder(argument, recursive, inputs);
    } else if (!fs::exists(status) && argument.find_first_of("*?[") != std::string::npos) {
      add_matches(argument, inputs.pictures);
    } else {
      inputs.pictures.push_back({argument, ""});
    }
  }
  return inputs;
}

std::vector<uint8_t> read_input(const std::string& path, size_t max_bytes) {
  const std::string name = name_of_input(path);
  const platform::File file = path == kStandardInput
                                  ? platform::File::standard_input()
                                  : platform::open_to_read(path, platform::Pipes::kWait);
  if (!file) {
    throw Error(ErrorCode::kInput, name + ": cannot open the file: " + std::strerror(errno));
  }
  return read_to_end(file, name, max_bytes);
}

std::string name_of_input(const std::string& path) {
  return path == kStandardInput ? "standard input" : path;
}

void refuse_input_as_output(const std::string& output, const std::vector<std::string>& inputs) {
  const auto to = platform::status(output);
  if (!to || to->kind != platform::FileKind::kRegular) return;
  for (const std::string& input : inputs) {
    const auto from = examine(input);
    if (!from || from->id != to->id) continue;
    throw Error(ErrorCode::kUsage, output + ": is also an input (" + name_of_input(input) +
                                       "), which writing would replace");
  }
}

}  // namespace lightcap::internal::cli
