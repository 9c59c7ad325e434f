// BERT's uncased WordPiece, both ways.
#ifndef LIGHTCAP_ENGINE_TEXT_WORDPIECE_H_
#define LIGHTCAP_ENGINE_TEXT_WORDPIECE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lightcap::internal {

struct SpecialTokens {
  uint32_t pad, unk, cls, sep, mask;
};

class WordPiece {
 public:
  // One token for each id; the strings must outlive this. Throws Error(kModel) where [PAD], [UNK],
  // [CLS], [SEP] or [MASK] is missing. A token that stands twice has its first id.
  explicit WordPiece(std::vector<std::string_view> vocabulary);

  const SpecialTokens& special_tokens() const { return special_; }
  size_t size() const { return vocabulary_.size(); }
  size_t longest_token() const { return longest_; }  // in bytes
  // The token is glued to the one before it: "##ing".
  bool continues_word(uint32_t id) const { return vocabulary_[id].substr(0, 2) == "##"; }

  // Ids without special tokens: lower case, accents stripped, split at spaces, punctuation and CJK,
  // then greedily the longest match. A word of more than 100 characters, or with no match, is
  // [UNK].
  std::vector<uint32_t> encode(std::string_view text) const;

  // Replaces `text`: special tokens dropped, ## pieces glued, spaces closed before . , ! ? and in
  // n't 'm 's 've 're. Ids beyond the vocabulary are skipped. Does not allocate if `text` has room
  // for longest_token() + 1 bytes a token.
  void decode(const uint32_t* ids, size_t count, std::string& text) const;

 private:
  // The place in slots_ of `token`, which has this hash, or the empty slot that it would take.
  size_t slot_of(std::string_view token, uint64_t hash) const;
  // Its id; kNone where there is none.
  uint32_t find(std::string_view token, uint64_t hash) const {
    return slots_[slot_of(token, hash)].id;
  }
  uint32_t required(std::string_view token) const;
  void encode_word(const std::u32string& word, std::vector<uint32_t>& ids) const;

  std::vector<std::string_view> vocabulary_;
  // Ids by their tokens' hashes, open addressing, at most half full. A map of nodes takes three
  // times as long to fill, which opening a model would spend most of its time on.
  static constexpr uint32_t kNone = UINT32_MAX;
  struct Slot {
    uint32_t id = kNone;
    uint32_t tag = 0;  // more of the hash, so that other tokens need not be looked at
  };
  std::vector<Slot> slots_;
  SpecialTokens special_;
  size_t longest_ = 0;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_TEXT_WORDPIECE_H_
