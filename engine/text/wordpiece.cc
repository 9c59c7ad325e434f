#include "engine/text/wordpiece.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <iterator>
#include <utility>

#include "engine/runtime/error.h"
#include "engine/text/unicode.h"

namespace lightcap {
namespace {

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
  for (uint32_t id = 0; id < vocabulary_.size(); ++id) {
    uint32_t& slot = slots_[slot_of(vocabulary_[id])];
    if (slot == kNone) slot = id;
    longest_ = std::max(longest_, vocabulary_[id].size());
  }
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
  size_t slot = std::hash<std::string_view>()(token) & mask;
  while (slots_[slot] != kNone && vocabulary_[slots_[slot]] != token) slot = (slot + 1) & mask;
  return slot;
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
  std::string utf8;
  std::vector<size_t> ends = {0};  // of each character's bytes
  for (const char32_t c : word) {
    append_utf8(c, utf8);
    ends.push_back(utf8.size());
  }
  const size_t before = ids.size();
  size_t begin = 0;
  while (begin < word.size()) {
    size_t end = word.size();
    for (; end > begin; --end) {
      std::string piece = begin == 0 ? "" : "##";
      piece.append(utf8, ends[begin], ends[end] - ends[begin]);
      const uint32_t id = find(piece);
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
