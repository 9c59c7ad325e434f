#include "engine/text/wordpiece.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <iterator>
#include <numeric>
#include <utility>

#include "engine/runtime/error.h"
#include "engine/text/unicode.h"

namespace lightcap {
namespace {

// A table that is half full at most has runs of some tens of slots, with a million words too.
constexpr size_t kMostProbes = 256;

constexpr size_t kLongestWord = 100;  // in characters; BERT's own limit

// Marks and ends of contractions: no space stands before them.
bool closes_space(std::string_view word) {
  constexpr std::string_view kClosing[] = {".", ",", "!", "?", "n't", "'m", "'s", "'ve", "'re"};
  return std::find(std::begin(kClosing), std::end(kClosing), word) != std::end(kClosing);
}

// Tokenized text has contractions in pieces: n ' t, ' m, ' s, ' ve, ' re. An end of `text` that is
// such a piece is glued: "it ' s" becomes "it's".
void glue_contraction(std::string& text) {
  for (const std::string_view end : {" ' m", " ' s", " ' ve", " ' re", "n ' t"}) {
    if (text.size() < end.size() || text.compare(text.size() - end.size(), end.size(), end) != 0)
      continue;
    const size_t begin = text.size() - end.size();
    if (end[0] == 'n') {
      text.replace(begin, end.size(), "n't");
    } else {
      text.replace(begin, 3, "'");
    }
    return;
  }
}

// `text` ends with a whole word now.
void end_word(std::string& text) {
  glue_contraction(text);
  const size_t space = text.rfind(' ');
  if (space != std::string::npos && closes_space(std::string_view(text).substr(space + 1)))
    text.erase(space, 1);
}

}  // namespace

WordPiece::WordPiece(std::vector<std::string_view> vocabulary)
    : vocabulary_(std::move(vocabulary)), slots_(std::bit_ceil(2 * vocabulary_.size() + 1), kNone) {
  for (const std::string_view token : vocabulary_) longest_ = std::max(longest_, token.size());
  if (!fill_slots()) sort();
  special_ = {required("[PAD]"), required("[UNK]"), required("[CLS]"), required("[SEP]"),
              required("[MASK]")};
}

uint32_t WordPiece::required(std::string_view token) const {
  const uint32_t id = find(token);
  if (id == kNone) {
    throw Error(ErrorCode::kModel, "the vocabulary lacks the token " + std::string(token));
  }
  return id;
}

size_t WordPiece::slot_of(std::string_view token) const {
  const size_t mask = slots_.size() - 1;
  const size_t first = std::hash<std::string_view>()(token);
  for (size_t i = 0; i < kMostProbes; ++i) {
    const size_t slot = (first + i) & mask;
    if (slots_[slot] == kNone || vocabulary_[slots_[slot]] == token) return slot;
  }
  return kFar;
}

// Returns false where tokens collide too often.
bool WordPiece::fill_slots() {
  for (uint32_t id = 0; id < vocabulary_.size(); ++id) {
    const size_t slot = slot_of(vocabulary_[id]);
    if (slot == kFar) return false;
    if (slots_[slot] == kNone) slots_[slot] = id;
  }
  return true;
}

void WordPiece::sort() {
  slots_ = {};
  sorted_.resize(vocabulary_.size());
  std::iota(sorted_.begin(), sorted_.end(), 0u);
  // Of equal tokens the first comes first, and is the one that find() meets.
  std::sort(sorted_.begin(), sorted_.end(), [&](uint32_t a, uint32_t b) {
    const int order = vocabulary_[a].compare(vocabulary_[b]);
    return order != 0 ? order < 0 : a < b;
  });
}

uint32_t WordPiece::find(std::string_view token) const {
  if (sorted_.empty()) {
    const size_t slot = slot_of(token);
    return slot == kFar ? kNone : slots_[slot];
  }
  const auto at =
      std::lower_bound(sorted_.begin(), sorted_.end(), token,
                       [&](uint32_t id, std::string_view text) { return vocabulary_[id] < text; });
  return at != sorted_.end() && vocabulary_[*at] == token ? *at : kNone;
}

std::vector<uint32_t> WordPiece::encode(std::string_view text) const {
  std::vector<uint32_t> ids;
  std::u32string word;
  const auto end_word = [&] {
    if (!word.empty()) encode_word(word, ids);
    word.clear();
  };
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (is_control(c)) continue;
    if (is_space(c)) {
      end_word();
    } else if (is_punctuation(c) || is_ideograph(c)) {
      end_word();
      word = c;
      end_word();
    } else if (const char32_t folded = fold_letter(c)) {
      word += folded;
    }
  }
  end_word();
  return ids;
}

// Greedy longest match; a word that does not end on a piece is [UNK] as a whole.
void WordPiece::encode_word(const std::u32string& word, std::vector<uint32_t>& ids) const {
  if (word.size() > kLongestWord) {
    ids.push_back(special_.unk);
    return;
  }
  std::string utf8 = "##";  // and the word, so that pieces within it are at hand
  const size_t mark = utf8.size();
  std::vector<size_t> ends = {mark};  // of each character's bytes
  for (const char32_t c : word) {
    append_utf8(c, utf8);
    ends.push_back(utf8.size());
  }
  const size_t before = ids.size();
  size_t begin = 0;
  while (begin < word.size()) {
    size_t end = word.size();
    // Over the end of the piece before, which is read no more.
    if (begin > 0) utf8.replace(ends[begin] - mark, mark, "##");
    const size_t first = begin == 0 ? mark : ends[begin] - mark;
    for (; end > begin; --end) {
      const size_t bytes = ends[end] - first;
      if (bytes > longest_) continue;
      const uint32_t id = find(std::string_view(utf8).substr(first, bytes));
      if (id == kNone) continue;
      ids.push_back(id);
      break;
    }
    if (end == begin) {
      ids.resize(before);
      ids.push_back(special_.unk);
      return;
    }
    begin = end;
  }
}

void WordPiece::decode(const uint32_t* ids, size_t count, std::string& text) const {
  text.clear();
  for (size_t i = 0; i < count; ++i) {
    const uint32_t id = ids[i];
    const bool special = id == special_.pad || id == special_.unk || id == special_.cls ||
                         id == special_.sep || id == special_.mask;
    if (special || id >= vocabulary_.size()) continue;
    std::string_view token = vocabulary_[id];
    const bool continues = token.substr(0, 2) == "##" && !text.empty();
    if (continues) {
      token.remove_prefix(2);
    } else if (!text.empty()) {
      end_word(text);
      text += ' ';
    }
    text += token;
  }
  end_word(text);
}

}  // namespace lightcap
