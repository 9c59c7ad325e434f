#include "cli/results_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "cli/output.h"
#include "engine/runtime/error.h"

namespace lightcap::internal::cli {
namespace {

constexpr std::string_view kBeginning = "{\"image\":";
// A line has a caption and concepts: longer ones are not ours.
constexpr size_t kLongestLine = size_t{1} << 26;
constexpr size_t kPiece = size_t{1} << 20;

std::span<const uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// A path as its line has it: bytes that are not UTF-8 are replaced there.
std::string name_in_json(const std::string& path) {
  return nlohmann::json::parse(json_text(path)).get<std::string>();
}

}  // namespace

ResultsFile::ResultsFile(const std::string& path, Existing existing) : path_(path) {
  const auto old = platform::status(path);
  if (old && old->kind != platform::FileKind::kRegular)
    throw Error(ErrorCode::kUsage, path + ": --output takes a regular file");
  if (old && old->size > 0 && existing == Existing::kRefuse) {
    throw Error(ErrorCode::kUsage, path +
                                       ": the file exists already; --resume goes on with it, "
                                       "--overwrite begins it anew");
  }
  file_ = platform::open_to_append(path);
  if (!file_) fail("cannot open it for writing");
  if (!file_.lock() && errno != ENOLCK && errno != EOPNOTSUPP && errno != ENOSYS)
    throw Error(ErrorCode::kUsage, path + ": another program is writing this file");
  if (existing == Existing::kReplace) {
    if (!file_.truncate(0)) fail("cannot empty it");
  } else if (existing == Existing::kResume) {
    read_lines();
  }
}

void ResultsFile::fail(const char* what) const {
  throw Error(ErrorCode::kOutput, path_ + ": " + what + ": " + std::strerror(errno));
}

void ResultsFile::read_lines() {
  std::string text;     // what is not taken yet
  uint64_t offset = 0;  // of its beginning
  while (true) {
    const size_t held = text.size();
    text.resize(held + kPiece);
    const ptrdiff_t got = file_.read({reinterpret_cast<uint8_t*>(text.data()) + held, kPiece});
    if (got < 0) fail("cannot read it");
    text.resize(held + static_cast<size_t>(got));
    const size_t taken = take_lines(text);
    offset += taken;
    text.erase(0, taken);
    if (got == 0 || text.size() > kLongestLine) break;
    if (text.find('\n') != std::string::npos) break;  // a line that is none of ours
  }
  if (!text.empty()) cut(offset, text);
}

size_t ResultsFile::take_lines(std::string_view text) {
  size_t taken = 0;
  while (true) {
    const size_t end = text.find('\n', taken);
    if (end == std::string_view::npos || !take_line(text.substr(taken, end - taken))) return taken;
    taken = end + 1;
  }
}

bool ResultsFile::take_line(std::string_view line) {
  if (!line.starts_with(kBeginning)) return false;
  const auto object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return false;
  const auto image = object.find("image");
  if (image == object.end() || !image->is_string()) return false;
  ++done_[image->get<std::string>()];
  return true;
}

// `rest` is the end of the file from the first byte that belongs to no whole line. A program that
// is killed leaves the beginning of a line there; a machine that loses its power, zeros, and after
// them maybe lines that were written later.
void ResultsFile::cut(uint64_t size, std::string_view rest) {
  const std::string_view head = rest.substr(0, rest.find('\0'));
  const size_t compared = std::min(head.size(), kBeginning.size());
  const bool is_begun = head.substr(0, compared) == kBeginning.substr(0, compared);
  const bool is_known = size > 0 || compared == kBeginning.size();
  const bool is_zero = rest.find_first_not_of('\0', head.size()) == std::string_view::npos;
  const bool is_cut = head.size() == rest.size() && rest.find('\n') == std::string_view::npos;
  const bool is_lost = head.size() < rest.size() && (is_known || is_zero);
  if (!is_begun || !(is_cut || is_lost) || rest.size() > kLongestLine) {
    throw Error(ErrorCode::kUsage, path_ + ": cannot resume: from byte " + std::to_string(size) +
                                       " on the file holds other things than lines of results");
  }
  if (!file_.truncate(size)) fail("cannot cut off its last line, which is not whole");
}

size_t ResultsFile::drop_done(std::vector<Input>& pictures) {
  if (done_.empty()) return 0;
  return std::erase_if(pictures, [&](const Input& picture) {
    const auto line = done_.find(name_in_json(picture.path));
    if (line == done_.end() || line->second == 0) return false;
    --line->second;
    return true;
  });
}

void ResultsFile::append(std::string_view line) const {
  if (!file_.write(bytes_of(line))) fail("cannot write");
}

void ResultsFile::close() {
  if (!file_.sync() || !file_.close()) fail("cannot write to the disk");
}

}  // namespace lightcap::internal::cli
