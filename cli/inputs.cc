#include "cli/inputs.h"

#include <glob.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>
#include <system_error>

namespace lightcap::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 7> kEndings = {".jpg", ".jpeg", ".png", ".bmp",
                                                      ".ppm", ".pgm",  ".pnm"};

bool is_picture(const fs::path& path) {
  std::string ending = path.extension().string();
  for (char& c : ending) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return std::find(kEndings.begin(), kEndings.end(), ending) != kEndings.end();
}

void add_folder(const std::string& folder, std::vector<Input>& inputs) {
  std::error_code error;
  std::vector<std::string> pictures;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code unknown;  // such as of a link to nowhere, which is no file
    if (is_picture(entry->path()) && entry->is_regular_file(unknown))
      pictures.push_back(entry->path().string());
  }
  if (error) {
    inputs.push_back({folder, folder + ": cannot list the folder: " + error.message()});
  } else if (pictures.empty()) {
    std::string endings;
    for (const std::string_view ending : kEndings) endings.append(" ").append(ending);
    inputs.push_back({folder, folder + ": the folder holds no pictures; looked for" + endings});
  }
  std::sort(pictures.begin(), pictures.end());
  for (std::string& picture : pictures) inputs.push_back({std::move(picture), ""});
}

void add_matches(const std::string& pattern, std::vector<Input>& inputs) {
  glob_t matches = {};
  if (glob(pattern.c_str(), 0, nullptr, &matches) != 0)
    inputs.push_back({pattern, pattern + ": no file matches"});
  for (size_t i = 0; i < matches.gl_pathc; ++i) inputs.push_back({matches.gl_pathv[i], ""});
  globfree(&matches);
}

}  // namespace

std::vector<Input> expand_inputs(const std::vector<std::string>& arguments) {
  std::vector<Input> inputs;
  for (const std::string& argument : arguments) {
    std::error_code error;
    const fs::file_status status = fs::status(argument, error);
    if (fs::is_directory(status)) {
      add_folder(argument, inputs);
    } else if (!fs::exists(status) && argument.find_first_of("*?[") != std::string::npos) {
      add_matches(argument, inputs);
    } else {
      inputs.push_back({argument, ""});
    }
  }
  return inputs;
}

}  // namespace lightcap::cli
