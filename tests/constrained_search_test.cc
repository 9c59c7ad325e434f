// Captions that must contain words: the machine over their tokens, and beam search with it over
// made-up words, against all captions that there are.
#include "models/constrained_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <random>

#include "models/constraints.h"
#include "tests/expect_error.h"

namespace lightcap::internal {
namespace {

// kS and kT continue the word before them.
constexpr uint32_t kEnd = 0, kA = 1, kB = 2, kC = 3, kS = 4, kT = 5;
constexpr size_t kVocabulary = 6;
const std::vector<bool> kContinues = {false, false, false, false, true, true};

using Tokens = std::vector<uint32_t>;

void expect_refused(std::vector<Forms> constraints, const std::string& message) {
  testing::expect_has(testing::error_of([&] { Constraints(std::move(constraints), kContinues); },
                                        ErrorCode::kUsage),
                      message);
}

Constraints machine(std::vector<Forms> constraints) {
  return Constraints(std::move(constraints), kContinues);
}

uint32_t node_after(const Constraints& constraints, const Tokens& tokens) {
  uint32_t node = Constraints::kStart;
  for (const uint32_t token : tokens) node = constraints.next(node, token);
  return node;
}

uint32_t tokens_left(const Constraints& constraints, const Tokens& tokens) {
  return constraints.tokens_left(node_after(constraints, tokens));
}

bool contains_all(const Constraints& constraints, const Tokens& tokens) {
  for (size_t i = 0; i < constraints.count(); ++i) {
    if (!constraints.find(i, tokens)) return false;
  }
  return true;
}

// ---- The machine ----

TEST(Constraints, WordsOfATokenHaveAStateForEachSubset) {
  EXPECT_EQ(machine({}).states(), 1u);
  EXPECT_EQ(machine({{{kA}}}).states(), 2u);
  EXPECT_EQ(machine({{{kA}}, {{kB}}}).states(), 4u);
  EXPECT_EQ(machine({{{kA}}, {{kB}}, {{kC}}}).states(), 8u);
  EXPECT_EQ(machine({{{kA}, {kB}, {kC}}}).states(), 2u);  // one of three forms
}

TEST(Constraints, CountsTheTokensThatAreLeft) {
  const Constraints two = machine({{{kA}}, {{kB, kS, kT}, {kC, kS}}});
  EXPECT_EQ(tokens_left(two, {}), 3u);
  EXPECT_EQ(tokens_left(two, {kA}), 2u);
  EXPECT_EQ(tokens_left(two, {kA, kB}), 2u);
  EXPECT_EQ(tokens_left(two, {kA, kB, kS}), 1u);
  EXPECT_EQ(tokens_left(two, {kA, kB, kS, kC}), 1u);  // began another form
  EXPECT_EQ(tokens_left(two, {kA, kB, kS, kT}), 0u);
  EXPECT_EQ(tokens_left(two, {kB, kS, kT, kEnd}), 1u);
}

TEST(Constraints, BetweenTheTokensOfAFormThereAreStates) {
  EXPECT_EQ(machine({{{kA, kS}}}).states(), 3u);
  EXPECT_EQ(machine({{{kA, kS, kT}}}).states(), 4u);
  EXPECT_EQ(machine({{{kA, kS}, {kA, kT}}}).states(), 3u);  // the same beginning
  // "a" begins what is missing of two: with neither, the first or the second there.
  EXPECT_EQ(machine({{{kA, kS}}, {{kA, kT}}}).states(), 7u);
}

TEST(Constraints, ATokenThatContinuesAWordMakesItAnother) {
  const Constraints word = machine({{{kA}}});
  EXPECT_EQ(tokens_left(word, {kA}), 0u);
  EXPECT_EQ(tokens_left(word, {kA, kS}), 1u);
  EXPECT_EQ(tokens_left(word, {kA, kEnd}), 0u);
  EXPECT_EQ(tokens_left(word, {kA, kB, kS}), 0u);
  EXPECT_EQ(tokens_left(word, {kA, kA, kS}), 0u);  // the first one stays
  const Constraints both = machine({{{kA}, {kA, kS}}});
  EXPECT_EQ(tokens_left(both, {kA, kS}), 0u);
  EXPECT_EQ(tokens_left(both, {kA, kS, kT}), 1u);
  // "hot dog" ends with the form "dog".
  const Constraints ending = machine({{{kA, kB, kC}, {kB}}});
  EXPECT_EQ(tokens_left(ending, {kA, kB}), 0u);
}

TEST(Constraints, ATokenMaySatisfySeveral) {
  const Constraints both = machine({{{kA}, {kB}}, {{kA}, {kC}}});
  EXPECT_EQ(tokens_left(both, {}), 1u);
  EXPECT_EQ(tokens_left(both, {kA}), 0u);
  EXPECT_EQ(tokens_left(both, {kB}), 1u);
  EXPECT_EQ(both.states(), 4u);
  const Constraints same = machine({{{kA}}, {{kA}}});
  EXPECT_EQ(same.states(), 2u);
}

TEST(Constraints, FindsTheFormThatIsThere) {
  const Constraints word = machine({{{kA}, {kB, kS}}});
  EXPECT_EQ(word.find(0, Tokens{kC, kB, kS, kEnd}), 1u);
  EXPECT_EQ(word.find(0, Tokens{kB, kS, kA}), 0u);
  EXPECT_EQ(word.find(0, Tokens{kA, kT, kB, kT}), std::nullopt);
  EXPECT_EQ(word.find(0, Tokens{kA, kT, kA}), 0u);
}

TEST(Constraints, RefusesWhatCannotBe) {
  expect_refused({{{kA}}, {{kB}}, {{kC}}, {{kA}}, {{kB}}}, "4 words at most, not 5");
  expect_refused({{}}, "1 to 16 forms, not 0");
  expect_refused({Forms(17, {kA})}, "1 to 16 forms, not 17");
  expect_refused({{{kA}, {}}}, "has no token");
  expect_refused({{{kVocabulary}}}, "token 6 is beyond the vocabulary of 6");
  expect_refused({{{kS}}}, "begins within a word");
  expect_refused({{Tokens(12, kA)}, {Tokens(12, kB)}, {Tokens(12, kC)}}, "more than 128 states");
  // As many tokens as would make the numbers of its states wrap around to a machine of few.
  for (const size_t length : {size_t{128}, size_t{65536}, size_t{65538}})
    expect_refused({{Tokens(length, kA)}}, "more than 128 states");
}

// One to three constraints of one to three forms, which overlap often.
std::vector<Forms> random_constraints(std::mt19937& random) {
  std::vector<Forms> constraints(1 + random() % 3);
  for (Forms& forms : constraints) {
    forms.resize(1 + random() % 3);
    for (Tokens& form : forms) {
      form = {static_cast<uint32_t>(kA + random() % 3)};
      while (form.size() < 3 && random() % 2 == 0)
        form.push_back(static_cast<uint32_t>(kA + random() % 5));
    }
  }
  return constraints;
}

TEST(Constraints, TheMachineSaysWhatTheTokensSay) {
  std::mt19937 random(1);
  for (int run = 0; run < 300; ++run) {
    const Constraints constraints = machine(random_constraints(random));
    for (int caption = 0; caption < 20; ++caption) {
      Tokens tokens;
      uint32_t node = Constraints::kStart;
      for (int t = 0; t < 12; ++t) {
        ASSERT_EQ(constraints.tokens_left(node) == 0, contains_all(constraints, tokens));
        // One of the constraints' tokens leads nearer, none by more than one.
        uint32_t nearest = UINT32_MAX;
        for (const uint32_t token : constraints.tokens())
          nearest = std::min(nearest, constraints.tokens_left(constraints.next(node, token)));
        const uint32_t left = constraints.tokens_left(node);
        ASSERT_TRUE(left == 0 || nearest == left - 1);
        tokens.push_back(static_cast<uint32_t>(kA + random() % 5));
        node = constraints.next(node, tokens.back());
      }
    }
  }
}

// ---- The search ----

// Made-up log-probabilities of the next word that depend on all words before it. With `ties` they
// are whole numbers.
class Words {
 public:
  Words(uint32_t seed, bool ties) : seed_(seed), ties_(ties) {}

  std::vector<float> after(const Tokens& tokens) const {
    std::seed_seq seed(tokens.begin(), tokens.end());
    std::vector<uint32_t> mixed(2);
    seed.generate(mixed.begin(), mixed.end());
    std::mt19937 random(seed_ ^ mixed[0]);
    std::vector<float> row;
    for (size_t i = 0; i < kVocabulary; ++i) {
      const float value = -5 * std::generate_canonical<float, 24>(random);
      row.push_back(ties_ ? std::floor(value) : value);
    }
    return row;
  }

 private:
  const uint32_t seed_;
  const bool ties_;
};

// Runs a search that has been started, over captions of at most slots - 1 words.
std::vector<Hypothesis> run(Beams& search, const Words& words, size_t beams, size_t slots) {
  const size_t k = std::min(2 * beams, kVocabulary);
  for (size_t t = 1; t < slots && search.live() > 0; ++t) {
    std::vector<float> rows;
    std::vector<ScoredToken> best;
    for (size_t i = 0; i < search.live(); ++i) {
      const std::vector<float> row = words.after(search.beam(i).tokens);
      std::vector<ScoredToken> sorted;
      for (uint32_t token = 0; token < kVocabulary; ++token) sorted.push_back({token, row[token]});
      std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
        return a.log_probability > b.log_probability;
      });
      rows.insert(rows.end(), row.begin(), row.end());
      best.insert(best.end(), sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(k));
    }
    search.grow(best.data(), k, {rows.data(), search.live(), kVocabulary, kVocabulary});
    if (search.hopeless()) break;
  }
  const auto done = search.finish();
  return {done.begin(), done.end()};
}

std::vector<Hypothesis> constrained(const Constraints& constraints, const Words& words,
                                    size_t beams, size_t slots, double length_penalty) {
  ConstrainedSearch search(beams, constraints.states(), slots, kEnd, kVocabulary);
  search.start(constraints, beams, length_penalty);
  return run(search, words, beams, slots);
}

void expect_same(const std::vector<Hypothesis>& a, const std::vector<Hypothesis>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].tokens, b[i].tokens);
    EXPECT_EQ(a[i].log_probabilities, b[i].log_probabilities);
    EXPECT_EQ(a[i].sum, b[i].sum);
    EXPECT_EQ(a[i].score, b[i].score);
  }
}

TEST(ConstrainedSearch, WithoutConstraintsIsBeamSearch) {
  const Constraints none = machine({});
  for (uint32_t seed = 0; seed < 100; ++seed) {
    for (const size_t beams : {size_t{1}, size_t{2}, size_t{5}}) {
      SCOPED_TRACE(::testing::Message() << "seed " << seed << ", " << beams << " beams");
      const Words words(seed, seed % 2 == 0);
      const double alpha = seed % 3 * 0.5;
      BeamSearch plain(beams, 8, kEnd, kVocabulary);
      plain.start(beams, alpha);
      expect_same(constrained(none, words, beams, 8, alpha), run(plain, words, beams, 8));
    }
  }
}

// The best caption of all, and the best that contains everything; of no score where there is none.
struct Best {
  std::optional<Hypothesis> any, with_all;
};

void try_all(const Words& words, const Constraints& constraints, size_t most_words,
             double length_penalty, Hypothesis& caption, Best& best) {
  const std::vector<float> row = words.after(caption.tokens);
  for (uint32_t token = 0; token < kVocabulary; ++token) {
    const double sum = caption.sum;
    caption.tokens.push_back(token);
    caption.sum += static_cast<double>(row[token]);
    if (token == kEnd || caption.tokens.size() == most_words) {
      caption.score = length_penalized(caption.sum, caption.tokens.size(), length_penalty);
      if (!best.any || caption.score > best.any->score) best.any = caption;
      if (contains_all(constraints, caption.tokens) &&
          (!best.with_all || caption.score > best.with_all->score))
        best.with_all = caption;
    } else {
      try_all(words, constraints, most_words, length_penalty, caption, best);
    }
    caption.tokens.pop_back();
    caption.sum = sum;
  }
}

// So wide a search drops nothing: its caption is the best of all that contain everything, and with
// no constraint the best of all, which no constraint's can be above.
TEST(ConstrainedSearch, WideEnoughFindsTheBestOfAllCaptions) {
  constexpr size_t kMostWords = 4, kWide = 800;
  std::mt19937 random(2);
  size_t tried = 0;
  for (uint32_t seed = 0; seed < 60; ++seed) {
    const Constraints constraints = machine(random_constraints(random));
    if (constraints.tokens_left(Constraints::kStart) > kMostWords) continue;
    const Words words(seed, false);
    const double alpha = seed % 3 * 0.5;
    Best best;
    Hypothesis caption;
    try_all(words, constraints, kMostWords, alpha, caption, best);
    const auto found = constrained(constraints, words, kWide, kMostWords + 1, alpha);
    EXPECT_EQ(found.front().tokens, best.with_all->tokens) << "seed " << seed;
    EXPECT_EQ(found.front().score, best.with_all->score);
    const auto plain = constrained(machine({}), words, kWide, kMostWords + 1, alpha);
    EXPECT_EQ(plain.front().tokens, best.any->tokens);
    EXPECT_LE(found.front().score, plain.front().score);
    ++tried;
  }
  EXPECT_GT(tried, 50u);
}

TEST(ConstrainedSearch, EveryCaptionContainsEverything) {
  std::mt19937 random(3);
  size_t tried = 0;
  for (uint32_t seed = 0; seed < 400; ++seed) {
    const Constraints constraints = machine(random_constraints(random));
    const size_t least = constraints.tokens_left(Constraints::kStart);
    const size_t slots = least + 1 + random() % 4;
    const size_t beams = 1 + random() % 3;
    const auto found = constrained(constraints, Words(seed, seed % 2 == 0), beams, slots, 1);
    ASSERT_FALSE(found.empty()) << "seed " << seed;
    for (const Hypothesis& caption : found) {
      EXPECT_TRUE(contains_all(constraints, caption.tokens)) << "seed " << seed;
      EXPECT_LT(caption.tokens.size(), slots);
      tried += caption.tokens.size() == least ? 1 : 0;
    }
  }
  EXPECT_GT(tried, 50u);  // captions without room for another word
}

class ConstrainedBeams : public ::testing::Test {
 protected:
  void start(std::vector<Forms> constraints, size_t beams, size_t slots) {
    constraints_.emplace(std::move(constraints), kContinues);
    search_.emplace(beams, constraints_->states(), slots, kEnd, kVocabulary);
    search_->start(*constraints_, beams, 0);
  }
  // A row for each live beam; words that it leaves out have -9.
  void grow(const std::vector<std::map<uint32_t, float>>& rows, size_t k) {
    ASSERT_EQ(rows.size(), search_->live());
    std::vector<float> all;
    std::vector<ScoredToken> best;
    for (const std::map<uint32_t, float>& given : rows) {
      std::vector<ScoredToken> row;
      for (uint32_t token = 0; token < kVocabulary; ++token) {
        row.push_back({token, given.contains(token) ? given.at(token) : -9});
        all.push_back(row.back().log_probability);
      }
      std::stable_sort(row.begin(), row.end(), [](const auto& a, const auto& b) {
        return a.log_probability > b.log_probability;
      });
      best.insert(best.end(), row.begin(), row.begin() + static_cast<std::ptrdiff_t>(k));
    }
    search_->grow(best.data(), k, {all.data(), search_->live(), kVocabulary, kVocabulary});
  }
  void expect_live(const std::vector<Tokens>& expected) {
    ASSERT_EQ(search_->live(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(search_->beam(i).tokens, expected[i]);
  }

  std::optional<Constraints> constraints_;
  std::optional<ConstrainedSearch> search_;
};

TEST_F(ConstrainedBeams, StatesKeepTheirBeamsApartAndAllAreSorted) {
  start({{{kA}}}, 1, 9);
  grow({{{kB, -1}, {kC, -2}, {kA, -8}}}, 2);
  expect_live({{kB}, {kA}});
  grow({{{kB, -1}, {kA, -3}}, {{kC, -1}}}, 2);
  // In the state that has the word, "b a" with -4 is better than "a c" with -9.
  expect_live({{kB, kB}, {kB, kA}});
  EXPECT_EQ(Tokens(search_->parents(), search_->parents() + 2), (Tokens{0, 0}));
  EXPECT_EQ(search_->leading().tokens, (Tokens{kB, kA}));
}

TEST_F(ConstrainedBeams, OfEqualSumsTheLowerBeamThenTheLowerWordComesFirst) {
  start({{{kB}, {kC}}}, 2, 9);
  grow({{{kC, -1}, {kB, -1}, {kA, -1}}}, 4);
  expect_live({{kA}, {kB}, {kC}});
  grow({{{kC, -1}, {kB, -1}}, {{kC, -1}, {kA, -1}}, {{kA, -1}}}, 4);
  // Two are kept of five captions of -2 that have the word.
  expect_live({{kA, kB}, {kA, kC}, {kA, kA}});
}

TEST_F(ConstrainedBeams, OnlyCaptionsWithEverythingEnd) {
  start({{{kA}}}, 2, 9);
  grow({{{kEnd, -0.1f}, {kB, -3}, {kA, -4}}}, 4);
  EXPECT_TRUE(search_->done().empty());
  expect_live({{kB}, {kA}, {kC}});
  grow({{{kEnd, -0.1f}}, {{kEnd, -0.5f}}, {{kEnd, -1}}}, 4);
  ASSERT_EQ(search_->done().size(), 1u);
  EXPECT_EQ(search_->done()[0].tokens, (Tokens{kA, kEnd}));
}

TEST_F(ConstrainedBeams, WordsThatAreMissingComeInTheLastSteps) {
  start({{{kA, kS}}, {{kB}}}, 2, 5);  // three tokens of four
  grow({{{kC, -0.1f}, {kT, -0.2f}}}, 4);
  for (size_t i = 0; i < search_->live(); ++i)
    EXPECT_LE(constraints_->tokens_left(node_after(*constraints_, search_->beam(i).tokens)), 3u);
  grow(std::vector<std::map<uint32_t, float>>(search_->live(), {{kC, -0.1f}}), 4);
  for (size_t i = 0; i < search_->live(); ++i)
    EXPECT_LE(constraints_->tokens_left(node_after(*constraints_, search_->beam(i).tokens)), 2u);
  grow(std::vector<std::map<uint32_t, float>>(search_->live(), {{kC, -0.1f}}), 4);
  grow(std::vector<std::map<uint32_t, float>>(search_->live(), {{kC, -0.1f}}), 4);
  for (const Hypothesis& caption : search_->finish())
    EXPECT_TRUE(contains_all(*constraints_, caption.tokens));
}

TEST_F(ConstrainedBeams, ASearchThatIsCutShortHasWhatThereIs) {
  start({{{kA}}, {{kB}}}, 2, 9);
  grow({{{kC, -1}, {kA, -2}}}, 4);
  EXPECT_EQ(search_->finish().front().tokens, Tokens{kC});
  start({{{kA}}}, 2, 9);
  grow({{{kC, -1}, {kA, -2}}}, 4);
  EXPECT_EQ(search_->finish().front().tokens, Tokens{kA});
  EXPECT_EQ(search_->done().size(), 1u);
}

TEST_F(ConstrainedBeams, ImpossibleWordsAreLeftOut) {
  constexpr float kNever = -std::numeric_limits<float>::infinity();
  start({{{kA}}}, 2, 9);
  grow({{{kA, kNever}, {kB, std::nanf("")}, {kC, -1}}}, 1);
  expect_live({{kC}});
}

}  // namespace
}  // namespace lightcap::internal
