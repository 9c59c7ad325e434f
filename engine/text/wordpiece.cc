#include "engine/text/wordpiece.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstring>
#include <iterator>
#include <utility>

#include "engine/platform/platform.h"
#include "engine/runtime/error.h"
#include "engine/text/unicode.h"

namespace lightcap::internal {
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

// A text's bytes as the digits of a number to a base, modulo the prime 2^61 - 1. For two texts of n
// bytes, n in 2^61 bases give the same hash at most: the base is drawn anew in every process, so
// that nobody can make a vocabulary whose tokens collide. The hash of a part of a text follows from
// those of its beginnings, so that a piece of a word is looked up without reading it.
class Hash {
 public:
  static uint64_t append(uint64_t hash, char c) {
    return reduced(product(hash, base()) + static_cast<uint8_t>(c) + 1);
  }
  static uint64_t of(std::string_view text) {
    uint64_t hash = 0;
    for (const char c : text) hash = append(hash, c);
    return hash;
  }
  // base^n
  static uint64_t next_power(uint64_t power) { return product(power, base()); }
  // The hash of the text behind a beginning: `all` is the hash of both, `power` that of the text's
  // length.
  static uint64_t without(uint64_t all, uint64_t beginning, uint64_t power) {
    return reduced(all + kPrime - product(beginning, power));
  }
  // The hash of both, one behind the other.
  static uint64_t joined(uint64_t beginning, uint64_t rest, uint64_t power) {
    return reduced(product(beginning, power) + rest);
  }
  // The bits that choose a slot and a tag, well mixed.
  static uint64_t mixed(uint64_t hash) { return hash * 0x9e3779b97f4a7c15 ^ hash >> 29; }

 private:
  static constexpr uint64_t kPrime = (uint64_t{1} << 61) - 1;

  static uint64_t reduced(uint64_t x) {
    x = (x & kPrime) + (x >> 61);
    return x >= kPrime ? x - kPrime : x;
  }
  static uint64_t product(uint64_t a, uint64_t b) {
    __extension__ using Wide = unsigned __int128;
    const Wide wide = static_cast<Wide>(a) * b;
    return reduced((static_cast<uint64_t>(wide) & kPrime) + static_cast<uint64_t>(wide >> 61));
  }
  static uint64_t base() {
    static const uint64_t drawn = [] {
      uint8_t bytes[sizeof(uint64_t)];
      uint64_t random = 0;
      if (platform::fill_with_random(bytes)) {
        std::memcpy(&random, bytes, sizeof random);
      } else {
        // Some sandboxes allow no such call; the clock and where we were loaded to differ as well.
        const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
        random = static_cast<uint64_t>(now) * 0x9e3779b97f4a7c15 ^
                 reinterpret_cast<uintptr_t>(&kLongestWord);
      }
      return 257 + random % (kPrime - 257);
    }();
    return drawn;
  }
};

}  // namespace

WordPiece::WordPiece(std::vector<std::string_view> vocabulary)
    : vocabulary_(std::move(vocabulary)), slots_(std::bit_ceil(2 * vocabulary_.size() + 1)) {
  for (uint32_t id = 0; id < vocabulary_.size(); ++id) {
    const uint64_t hash = Hash::of(vocabulary_[id]);
    Slot& slot = slots_[slot_of(vocabulary_[id], hash)];
    if (slot.id == kNone) slot = {id, static_cast<uint32_t>(Hash::mixed(hash) >> 32)};
    longest_ = std::max(longest_, vocabulary_[id].size());
  }
  special_ = {required("[PAD]"), required("[UNK]"), required("[CLS]"), required("[SEP]"),
              required("[MASK]")};
}

uint32_t WordPiece::required(std::string_view token) const {
  const uint32_t id = find(token, Hash::of(token));
  if (id == kNone) {
    throw Error(ErrorCode::kModel, "the vocabulary lacks the token " + std::string(token));
  }
  return id;
}

size_t WordPiece::slot_of(std::string_view token, uint64_t hash) const {
  const size_t mask = slots_.size() - 1;
  const uint64_t mixed = Hash::mixed(hash);
  const auto tag = static_cast<uint32_t>(mixed >> 32);
  size_t slot = mixed & mask;
  while (slots_[slot].id != kNone &&
         (slots_[slot].tag != tag || vocabulary_[slots_[slot].id] != token)) {
    slot = (slot + 1) & mask;
  }
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
  constexpr std::string_view kMark = "##";
  std::string utf8(kMark);                   // and the word, so that pieces within it are at hand
  std::vector<size_t> ends = {utf8.size()};  // of each character's bytes
  for (const char32_t c : word) {
    append_utf8(c, utf8);
    ends.push_back(utf8.size());
  }
  // The hashes of the word's first n bytes, and the base to the n.
  std::vector<uint64_t> hashes = {0}, powers = {1};
  for (const char c : std::string_view(utf8).substr(kMark.size())) {
    hashes.push_back(Hash::append(hashes.back(), c));
    powers.push_back(Hash::next_power(powers.back()));
  }
  const uint64_t mark_hash = Hash::of(kMark);
  const size_t before = ids.size();
  size_t begin = 0;
  while (begin < word.size()) {
    size_t end = word.size();
    // Over the end of the piece before, which is read no more.
    if (begin > 0) utf8.replace(ends[begin] - kMark.size(), kMark.size(), kMark);
    const size_t first = begin == 0 ? ends[0] : ends[begin] - kMark.size();
    for (; end > begin; --end) {
      const size_t bytes = ends[end] - first;
      if (bytes > longest_) continue;
      const size_t from = ends[begin] - kMark.size(), to = ends[end] - kMark.size();
      uint64_t hash = Hash::without(hashes[to], hashes[from], powers[to - from]);
      if (begin > 0) hash = Hash::joined(mark_hash, hash, powers[to - from]);
      const uint32_t id = find(std::string_view(utf8).substr(first, bytes), hash);
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
    const bool continues = continues_word(id) && !text.empty();
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

}  // namespace lightcap::internal
