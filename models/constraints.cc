#include "models/constraints.h"

#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <utility>

#include "engine/runtime/error.h"

namespace lightcap::internal {
namespace {

// More nodes than this are refused; with kMaxConstraintStates there are seldom so many.
constexpr size_t kMaxNodes = 4096;

// A caption's progress in one constraint: a node of its matcher, or beyond it.
using Place = uint16_t;
constexpr Place kDone = std::numeric_limits<Place>::max();

[[noreturn]] void refuse(const std::string& what) { throw Error(ErrorCode::kUsage, what); }

[[noreturn]] void refuse_states() {
  refuse("the words that a caption must contain have more than " +
         std::to_string(kMaxConstraintStates) +
         " states: ask for fewer words, or fewer and shorter forms of them");
}

// Finds the forms of one constraint in a row of symbols (Aho and Corasick): a node for each
// beginning of a form, the empty one first, which is the longest that the symbols so far end with.
class Matcher {
 public:
  Matcher(const std::vector<std::vector<uint16_t>>& forms, size_t symbols) : symbols_(symbols) {
    add_node();
    for (const std::vector<uint16_t>& form : forms) insert(form);
    connect();
  }

  Place next(Place place, uint16_t symbol) const { return next_[place * symbols_ + symbol]; }
  // A form ends here, though a longer one may go on.
  bool ends(Place place) const { return ends_[place]; }

 private:
  static constexpr Place kNone = kDone;

  Place add_node() {
    next_.resize(next_.size() + symbols_, kNone);
    ends_.push_back(false);
    return static_cast<Place>(ends_.size() - 1);
  }

  void insert(const std::vector<uint16_t>& form) {
    Place at = 0;
    for (const uint16_t symbol : form) {
      if (next(at, symbol) == kNone) {
        const Place added = add_node();
        next_[at * symbols_ + symbol] = added;
      }
      at = next(at, symbol);
    }
    ends_[at] = true;
  }

  // Symbols that lead nowhere lead to where they would from the node's longest proper ending. Nodes
  // are visited by their depth, so that this one is complete already.
  void connect() {
    std::vector<Place> ending(ends_.size(), 0), queue = {0};
    for (size_t i = 0; i < queue.size(); ++i) {
      const Place at = queue[i];
      for (uint16_t symbol = 0; symbol < symbols_; ++symbol) {
        Place& to = next_[at * symbols_ + symbol];
        const Place otherwise = at == 0 ? Place{0} : next(ending[at], symbol);
        if (to == kNone) {
          to = otherwise;
          continue;
        }
        ending[to] = otherwise;
        ends_[to] = ends_[to] || ends_[otherwise];
        queue.push_back(to);
      }
    }
  }

  const size_t symbols_;
  std::vector<Place> next_;  // [nodes][symbols]
  std::vector<bool> ends_;
};

}  // namespace

// The product of all constraints' matchers, as far as it can be reached.
class Constraints::Builder {
 public:
  explicit Builder(Constraints& machine) : machine_(machine) {
    for (const Forms& forms : machine.constraints_) {
      std::vector<std::vector<uint16_t>> symbols;
      for (const std::vector<uint32_t>& form : forms) {
        symbols.emplace_back();
        for (const uint32_t token : form) symbols.back().push_back(machine.symbol_of_[token]);
      }
      matchers_.emplace_back(symbols, machine.symbols_);
    }
  }

  void run() {
    node_of(std::vector<Place>(matchers_.size(), 0));
    for (size_t node = 0; node < places_.size(); ++node) {
      for (uint16_t symbol = 0; symbol < machine_.symbols_; ++symbol)
        machine_.next_.push_back(node_of(after(places_[node], symbol)));
    }
    machine_.states_ = states_.size();
    machine_.complete_ = states_.at(std::vector<Place>(matchers_.size(), kDone));
  }

 private:
  // A form that has come to its end is contained from the next word on.
  std::vector<Place> after(std::vector<Place> places, uint16_t symbol) const {
    for (size_t i = 0; i < places.size(); ++i) {
      if (places[i] == kDone) continue;
      const bool contained = matchers_[i].ends(places[i]) && !machine_.piece_[symbol];
      places[i] = contained ? kDone : matchers_[i].next(places[i], symbol);
    }
    return places;
  }

  uint16_t node_of(const std::vector<Place>& places) {
    const auto [found, is_new] = nodes_.try_emplace(places, static_cast<uint16_t>(nodes_.size()));
    if (is_new) {
      places_.push_back(places);
      machine_.state_of_.push_back(state_of(places));
      if (states_.size() > kMaxConstraintStates || places_.size() > kMaxNodes) refuse_states();
    }
    return found->second;
  }

  uint16_t state_of(std::vector<Place> places) {
    for (size_t i = 0; i < places.size(); ++i) {
      if (places[i] != kDone && matchers_[i].ends(places[i])) places[i] = kDone;
    }
    return states_.try_emplace(places, static_cast<uint16_t>(states_.size())).first->second;
  }

  Constraints& machine_;
  std::vector<Matcher> matchers_;
  std::map<std::vector<Place>, uint16_t> nodes_, states_;
  std::vector<std::vector<Place>> places_;  // [nodes]
};

Constraints::Constraints(std::vector<Forms> constraints, const std::vector<bool>& continues)
    : constraints_(std::move(constraints)) {
  check(continues);
  number_tokens(continues);
  Builder(*this).run();
  measure();
}

void Constraints::check(const std::vector<bool>& continues) const {
  if (constraints_.size() > kMaxConstraints) {
    refuse("a caption may have to contain " + std::to_string(kMaxConstraints) +
           " words at most, not " + std::to_string(constraints_.size()));
  }
  for (const Forms& forms : constraints_) {
    if (forms.empty() || forms.size() > kMaxForms) {
      refuse("a word has 1 to " + std::to_string(kMaxForms) + " forms, not " +
             std::to_string(forms.size()));
    }
    for (const std::vector<uint32_t>& form : forms) {
      if (form.empty()) refuse("a form of a word has no token");
      // Each of its tokens makes a state. Nothing is built of longer ones, whose numbers would not
      // fit in a Place.
      if (form.size() >= kMaxConstraintStates) refuse_states();
      for (const uint32_t token : form) {
        if (token >= continues.size()) {
          refuse("token " + std::to_string(token) + " is beyond the vocabulary of " +
                 std::to_string(continues.size()));
        }
      }
      if (continues[form[0]]) refuse("a form of a word begins within a word");
    }
  }
}

void Constraints::number_tokens(const std::vector<bool>& continues) {
  for (const Forms& forms : constraints_) {
    for (const std::vector<uint32_t>& form : forms)
      tokens_.insert(tokens_.end(), form.begin(), form.end());
  }
  std::sort(tokens_.begin(), tokens_.end());
  tokens_.erase(std::unique(tokens_.begin(), tokens_.end()), tokens_.end());
  symbols_ = kFirstToken + tokens_.size();
  for (const bool piece : continues) symbol_of_.push_back(piece ? kOtherPiece : kOtherWord);
  piece_ = {false, true};
  for (size_t i = 0; i < tokens_.size(); ++i) {
    symbol_of_[tokens_[i]] = static_cast<uint16_t>(kFirstToken + i);
    piece_.push_back(continues[tokens_[i]]);
  }
}

// How far each node is from the state that has everything, by tokens of the forms alone. Each form
// begins with a word, which makes sure of the forms before it, and can be followed to its end: so
// every node has a way.
void Constraints::measure() {
  constexpr uint32_t kFar = std::numeric_limits<uint16_t>::max() - 1;
  for (const uint16_t state : state_of_) tokens_left_.push_back(state == complete_ ? 0 : kFar);
  for (bool changed = true; changed;) {
    changed = false;
    for (uint32_t node = 0; node < tokens_left_.size(); ++node) {
      for (const uint32_t token : tokens_) {
        const auto left = static_cast<uint16_t>(tokens_left_[next(node, token)] + 1);
        changed = changed || left < tokens_left_[node];
        tokens_left_[node] = std::min(tokens_left_[node], left);
      }
    }
  }
}

std::optional<size_t> Constraints::find(size_t constraint, std::span<const uint32_t> tokens) const {
  const Forms& forms = constraints_[constraint];
  for (size_t i = 0; i < forms.size(); ++i) {
    const auto length = static_cast<std::ptrdiff_t>(forms[i].size());
    for (auto at = tokens.begin();; ++at) {
      at = std::search(at, tokens.end(), forms[i].begin(), forms[i].end());
      if (at == tokens.end()) break;
      if (at + length == tokens.end() || !is_piece(*(at + length))) return i;
    }
  }
  return std::nullopt;
}

}  // namespace lightcap::internal
