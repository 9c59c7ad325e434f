// Words that captions must contain, as a finite-state machine over a caption's tokens (Anderson et
// al. 2017, "Guided Open Vocabulary Image Captioning with Constrained Beam Search"). Knows neither
// models nor text.
#ifndef LIGHTCAP_MODELS_CONSTRAINTS_H_
#define LIGHTCAP_MODELS_CONSTRAINTS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace lightcap::internal {

inline constexpr size_t kMaxConstraints = 4;
inline constexpr size_t kMaxForms = 16;  // of a constraint
inline constexpr size_t kMaxConstraintStates = 128;

// The forms of a constraint, of which a caption has to contain one: each as its tokens, side by
// side.
using Forms = std::vector<std::vector<uint32_t>>;

// A form is contained where its tokens are whole words: the token that follows it must not continue
// its last word, as "##fish" does to "cat". So what a caption satisfies can be undone by the next
// token, and the machine has two levels. Its nodes tell all that the tokens to come depend on.
// Nodes that differ only in whether a form has just come to its end, or is known to have, are one
// state; beam search keeps the beams of each state apart. Words of a single token make the 2^n
// states of the subsets of n constraints; between the tokens of longer forms there are more.
// Immutable, so that any number of sessions may use it at once.
class Constraints {
 public:
  // `continues` [vocabulary] says which tokens continue the word before them. Throws Error(kUsage)
  // where there is no form, a form is empty, begins within a word or has tokens beyond the
  // vocabulary, or where there are more constraints, forms or states than the limits above.
  Constraints(std::vector<Forms> constraints, const std::vector<bool>& continues);

  size_t count() const { return constraints_.size(); }
  size_t states() const { return states_; }

  // The tokens of all forms, ascending.
  std::span<const uint32_t> tokens() const { return tokens_; }
  bool has_token(uint32_t token) const { return symbol_of_[token] >= kFirstToken; }

  // The node of an empty caption, and the one that follows a node by a token of the vocabulary. The
  // token that ends captions continues no word.
  static constexpr uint32_t kStart = 0;
  uint32_t next(uint32_t node, uint32_t token) const {
    return next_[node * symbols_ + symbol_of_[token]];
  }
  uint32_t state_of(uint32_t node) const { return state_of_[node]; }
  // The fewest tokens that have to follow before the caption has all that it must contain: 0 where
  // it does, if it ends here. As many tokens of tokens() always lead there, one nearer with each.
  uint32_t tokens_left(uint32_t node) const { return tokens_left_[node]; }

  // The first form of a constraint that these tokens contain, by its index there.
  std::optional<size_t> find(size_t constraint, std::span<const uint32_t> tokens) const;

 private:
  class Builder;
  // A token as the machine sees it: one that no form has, and begins or continues a word; or a
  // token of tokens(), by its index there.
  enum Symbol : uint16_t { kOtherWord = 0, kOtherPiece = 1, kFirstToken = 2 };

  bool is_piece(uint32_t token) const {
    return token < symbol_of_.size() && piece_[symbol_of_[token]];
  }
  void check(const std::vector<bool>& continues) const;
  void number_tokens(const std::vector<bool>& continues);
  void measure();

  std::vector<Forms> constraints_;
  std::vector<uint32_t> tokens_;
  std::vector<uint16_t> symbol_of_;    // [vocabulary]
  size_t symbols_ = 0;                 // kFirstToken + tokens
  std::vector<uint16_t> next_;         // [nodes][symbols]
  std::vector<uint16_t> state_of_;     // [nodes]
  std::vector<uint16_t> tokens_left_;  // [nodes]
  std::vector<bool> piece_;            // [symbols], it continues a word
  size_t states_ = 0;
  uint16_t complete_ = 0;  // the state that has all
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_CONSTRAINTS_H_
