// A folder for a test's files. Tests run side by side, also those of two clones, so none may have a
// file of a fixed name.
#ifndef LIGHTCAP_TESTS_TEMPORARY_FOLDER_H_
#define LIGHTCAP_TESTS_TEMPORARY_FOLDER_H_

#include <algorithm>
#include <filesystem>
#include <random>
#include <string>
#include <system_error>
#include <vector>

namespace lightcap::internal::testing {

// An empty folder, removed in the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::random_device random;
    do {
      path_ =
          std::filesystem::temp_directory_path() / ("lightcap_test_" + std::to_string(random()));
    } while (!std::filesystem::create_directory(path_));
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  // The names of all that lies in it, sorted.
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(path_))
      names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace lightcap::internal::testing

#endif  // LIGHTCAP_TESTS_TEMPORARY_FOLDER_H_
