// Small model files that ask for much are refused, or cost little; weights that are not finite are
// errors; what real models ask for is given.
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <ctime>
#include <functional>
#include <limits>
#include <span>

#include "engine/io/limits.h"
#include "kernels/dispatch.h"
#include "models/lightcap.h"
#include "models/trace.h"
#include "tests/expect_error.h"
#include "tests/lcw_file.h"

namespace lightcap::internal::testing {
namespace {

std::string error_of_opening(const LcwFile& file) {
  return error_of([&] { open_model(file); }, ErrorCode::kModel);
}

Session session_of(const LcwFile& file, int threads = 1) {
  return Session(open_model(file), {.kernels = &best_kernels(), .threads = threads});
}

std::string error_of_session(const Config& config) {
  return error_of([&] { session_of(LcwFile::of(config)); }, ErrorCode::kModel);
}

void caption(Session& session, std::span<StageObserver* const> observers = {},
             const DecodeOptions& options = {}) {
  std::vector<uint8_t> pixels(3 * 20 * 10);
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i * i / 7);
  session.caption(ImageView{pixels.data(), 20, 10, 60}, options, observers);
}

std::string error_of_caption(const LcwFile& file) {
  return error_of(
      [&] {
        Session session = session_of(file);
        caption(session);
      },
      ErrorCode::kModel);
}

TEST(SmallestModel, Captions) {
  Session session = session_of(LcwFile::of(smallest_config()));
  caption(session);
  EXPECT_FALSE(session.hypothesis().tokens.empty());
  EXPECT_FALSE(session.concepts().empty());
}

// ---- Memory and time of a session ----

const char kMemory[] = "bytes of memory, more than";
const char kSteps[] = "steps of arithmetic, more than";

struct Bomb {
  const char* name;
  void (*set)(Config&);
  const char* limit;
};

const Bomb kBombs[] = {
    {"LargestEncoderInput", [](Config& c) { c.image_encoder.image_size = 4064; }, kMemory},
    {"LargestDetectorInput", [](Config& c) { c.detector.image_size = 4096; }, kMemory},
    {"ManyClasses",
     [](Config& c) {
       c.detector.classes = 4096;
       c.detector.image_size = 2048;
     },
     kMemory},
    {"ManyAnchors",
     [](Config& c) {
       c.detector.anchors = 64;
       c.detector.image_size = 2048;
     },
     kMemory},
    {"ManyProposalsOfManyConcepts",
     [](Config& c) {
       c.detector.max_proposals = 1000;
       c.concept_extractor.vocabulary = 100'000;
     },
     kMemory},
    {"ManySlotsOfManyLayers",
     [](Config& c) {
       c.fusion.caption_slots = 1024;
       c.fusion.positions = 1027;
       c.fusion.layers = 128;
       c.image_encoder.image_size = 1024;
     },
     kSteps},
    {"ManyHeadsOverManyTokens",
     [](Config& c) {
       c.image_encoder.image_size = 2048;
       c.fusion.heads = 16;
       c.fusion.layers = 16;
     },
     kSteps},
    {"ManyProposalsOfManySamples",
     [](Config& c) {
       c.detector.max_proposals = 1000;
       c.concept_extractor.roi_size = 64;
       c.concept_extractor.sampling_ratio = 16;
     },
     kSteps},
    {"ManyBranches",
     [](Config& c) {
       c.head.branches = 64;
       c.fusion.vocabulary = 20'000;
       c.fusion.caption_slots = 1024;
       c.fusion.positions = 1027;
     },
     kSteps},
};

class SessionLimits : public ::testing::TestWithParam<Bomb> {};

TEST_P(SessionLimits, AreNamedBeforeMemoryIsTaken) {
  Config config = smallest_config();
  GetParam().set(config);
  const std::string error = error_of_session(config);
  expect_has(error, "forged.lcw: a caption would take ");
  expect_has(error, GetParam().limit);
  expect_has(error, "the limit for a model of ");
}

INSTANTIATE_TEST_SUITE_P(Every, SessionLimits, ::testing::ValuesIn(kBombs),
                         [](const auto& bomb) { return std::string(bomb.param.name); });

TEST(SessionMemory, OfScoresDoesNotGrowWithTheSquareOfTheTokens) {
  Config config = smallest_config();
  config.image_encoder.image_size = 1024;  // 1024 tokens
  config.fusion.heads = 1;
  const size_t one = session_of(LcwFile::of(config)).peak_bytes();
  config.fusion.heads = 16;
  const size_t sixteen = session_of(LcwFile::of(config)).peak_bytes();
  EXPECT_LT(sixteen, one + (size_t{1} << 20));
}

TEST(SessionMemory, ScoresInGroupsAreTheSameForAnyNumberOfThreads) {
  Config config = smallest_config();
  config.image_encoder.image_size = 1536;  // 2304 tokens: 1184 tasks of which 64 share scratch
  config.fusion.heads = 16;
  const LcwFile file = LcwFile::of(config);
  std::vector<std::vector<float>> prefixes;
  for (const int threads : {1, 3}) {
    Session session = session_of(file, threads);
    std::vector<float> seen;
    Trace trace([&](const char* name, const float* data, std::initializer_list<size_t> dims) {
      if (std::string(name) != "log_probabilities") return;
      size_t count = 1;
      for (const size_t dim : dims) count *= dim;
      seen.assign(data, data + count);
    });
    caption(session, std::array<StageObserver*, 1>{&trace});
    prefixes.push_back(seen);
  }
  EXPECT_FALSE(prefixes[0].empty());
  EXPECT_EQ(prefixes[0], prefixes[1]);
}

// ---- Texts ----

void replace_text(LcwFile& file, const char* key, size_t index, const std::string& text) {
  std::get<std::vector<std::string>>(file.value(key))[index] = text;
}

TEST(Texts, HaveALongestLength) {
  for (const char* key : {"vocabulary", "labels"}) {
    LcwFile file = LcwFile::of(smallest_config());
    const size_t index = std::string(key) == "labels" ? 1 : 6;
    replace_text(file, key, index, std::string(1024, 'x'));
    EXPECT_NO_THROW(open_model(file));
    replace_text(file, key, index, std::string(1025, 'x'));
    expect_has(error_of_opening(file), std::string("forged.lcw: the key ") + key + ": string " +
                                           std::to_string(index) +
                                           " has 1025 bytes, the limit is 1024");
  }
}

TEST(Texts, AreUtf8) {
  for (const char* key : {"vocabulary", "labels"}) {
    LcwFile file = LcwFile::of(smallest_config());
    const size_t index = std::string(key) == "labels" ? 1 : 6;
    for (const char* good :
         {"\xc3\xa9t\xc3\xa9", "\xe7\x8c\xab", "\xf0\x9f\x90\x88", "\xef\xbf\xbd"}) {
      replace_text(file, key, index, good);
      EXPECT_NO_THROW(open_model(file)) << good;
    }
    for (const char* bad : {"ab\xff", "ab\xc3", "ab\xe7\x8c", "ab\xc0\x80", "ab\xed\xa0\x80",
                            "ab\xf4\x90\x80\x80", "ab\x80x"}) {
      replace_text(file, key, index, bad);
      expect_has(error_of_opening(file), std::string("forged.lcw: the key ") + key + ": string " +
                                             std::to_string(index) +
                                             " is not UTF-8 from byte 2 on");
    }
  }
}

TEST(Keys, AreCounted) {
  LcwFile file = LcwFile::of(smallest_config());
  while (file.keys.size() < 4096)
    file.keys.emplace_back("x" + std::to_string(file.keys.size()), 1.0);
  EXPECT_NO_THROW(open_model(file));
  file.keys.emplace_back("one.more", 1.0);
  expect_has(error_of_opening(file), "forged.lcw: the model has 4097 keys, the limit is 4096");
}

TEST(Keys, HaveALongestName) {
  LcwFile file = LcwFile::of(smallest_config());
  file.keys.emplace_back(std::string(256, 'k'), 1.0);
  EXPECT_NO_THROW(open_model(file));
  file.keys.back().first += 'k';
  expect_has(error_of_opening(file), "has a name of 257 bytes, the limit is 256");
  file = LcwFile::of(smallest_config());
  file.tensors.back().name = std::string(257, 't');
  expect_has(error_of_opening(file), "has a name of 257 bytes, the limit is 256");
}

TEST(Keys, OfTensorsAreCheckedBeforeTheyAreShown) {
  LcwFile file = LcwFile::of(smallest_config());
  file.tensors[0].name = "\x1b[31mred";
  file.tensors[0].dims = {};
  const std::string error = error_of_opening(file);
  expect_has(error, "the name of tensor 0 is empty or not printable ASCII");
  expect_lacks(error, "\x1b");
}

TEST(Keys, ThatAreChoicesAreShownWithoutControlCharacters) {
  LcwFile file = LcwFile::of(smallest_config());
  file.value("fusion.decode") = "\x1b[31m\n" + std::string(100'000, 'm');
  const std::string error = error_of_opening(file);
  expect_has(error, "fusion.decode is \"?[31m?mmm");
  expect_has(error, "expected mask or causal");
  EXPECT_LT(error.size(), 200u);
}

// ---- Colliding words ----

// CPU time, not wall-clock time, so that a busy machine changes little.
double seconds_of(const std::function<void()>& work) {
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 3; ++i) {
    const std::clock_t start = std::clock();
    work();
    least = std::min(least, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
  }
  return least;
}

// Words that std::hash would place into one of 512 parts of a table for so many.
std::vector<std::string> colliding_words(size_t count) {
  const size_t slots = std::bit_ceil(2 * count + 1);
  std::vector<std::string> words = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  std::string word = "aaaaaaaa";
  while (words.size() < count) {
    if (std::hash<std::string_view>()(word) % slots < slots / 512) words.push_back(word);
    for (size_t i = word.size(); i-- > 0 && ++word[i] > 'z';) word[i] = 'a';
  }
  return words;
}

TEST(Vocabulary, OfCollidingWordsIsReadAsFastAsAnother) {
  constexpr size_t kWords = 16384;
  const std::vector<std::string> colliding = colliding_words(kWords);
  std::vector<std::string> plain(colliding.begin(), colliding.begin() + 5);
  while (plain.size() < kWords) plain.push_back("word" + std::to_string(plain.size()));
  const auto read = [](const std::vector<std::string>& words) {
    return WordPiece({words.begin(), words.end()});
  };
  // A quadratic search takes hundreds of times as long.
  EXPECT_LT(seconds_of([&] { read(colliding); }), 60 * seconds_of([&] { read(plain); }));
  const WordPiece word_piece = read(colliding);
  EXPECT_EQ(word_piece.special_tokens().mask, 4u);
  for (const uint32_t id : {5u, 6u, 700u, 16383u})
    EXPECT_EQ(word_piece.encode(colliding[id]), std::vector<uint32_t>{id});
  EXPECT_EQ(word_piece.encode("nothing"), std::vector<uint32_t>{1});
}

TEST(Vocabulary, TakesLongWordsApart) {
  std::vector<std::string> words = {"[PAD]",  "[UNK]", "[CLS]", "[SEP]",
                                    "[MASK]", "a",     "##a",   "##b"};
  for (size_t length = 3; length < 103; ++length) words.push_back(std::string(length, 'x'));
  const WordPiece word_piece({words.begin(), words.end()});
  const std::string word = std::string(99, 'a') + "b";
  std::vector<uint32_t> expected(100, 6);
  expected[0] = 5;
  expected[99] = 7;
  EXPECT_EQ(word_piece.encode(word), expected);
  EXPECT_EQ(word_piece.encode(word + "b"), std::vector<uint32_t>{1}) << "101 characters";
}

TEST(Vocabulary, OfCollidingWordsTakesTheFirstOfTwo) {
  std::vector<std::string> words = colliding_words(2048);
  words[2047] = words[7];
  words[2046] = "[SEP]";
  const WordPiece word_piece({words.begin(), words.end()});
  EXPECT_EQ(word_piece.encode(words[7]), std::vector<uint32_t>{7});
  EXPECT_EQ(word_piece.special_tokens().sep, 3u);
}

// ---- Weights that are not finite ----

const float kNotFinite[] = {std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::infinity()};

// Every cell holds a box.
LcwFile sure_detector() {
  LcwFile file = LcwFile::of(smallest_config());
  for (int scale = 0; scale < 3; ++scale) {
    LcwTensor& bias = file.tensor("detector.model.24.m." + std::to_string(scale) + ".bias");
    bias.floats()[4] = bias.floats()[5] = 9;
  }
  return file;
}

TEST(NotFinite, BoxesAreAnError) {
  for (const float value : kNotFinite) {
    LcwFile file = sure_detector();
    LcwTensor& anchors = file.tensor("detector.model.24.anchors");
    std::fill_n(anchors.floats(), anchors.size(), value);
    expect_has(error_of_caption(file), "the detector's outputs are not finite");
    // One output of each kind: objectness, the class, a coordinate, a size.
    for (const size_t output : {4u, 5u, 0u, 3u}) {
      if (std::isinf(value) && output != 4) continue;  // a sigmoid makes that a number
      file = sure_detector();
      file.tensor("detector.model.24.m.1.bias").floats()[output] = value;
      expect_has(error_of_caption(file), "the detector's outputs are not finite");
    }
  }
}

TEST(NotFinite, SimilaritiesAreAnError) {
  for (const float value : kNotFinite) {
    LcwFile file = LcwFile::of(smallest_config());
    file.tensor("concept_extractor.vocabulary").floats()[1] = value;  // of the second label
    expect_has(error_of_caption(file), "the similarities of concepts are not finite");
    file = LcwFile::of(smallest_config());
    file.tensor("concept_extractor.proj.1.bias").floats()[0] = value;
    expect_has(error_of_caption(file), "the similarities of concepts are not finite");
  }
}

// The last slot is kept for the word, which the model can never say: no caption is left, done or
// under way, and nobody is told of one.
TEST(NotFinite, AWordThatMustBeThereAndHasNoProbabilityIsAnError) {
  struct Count final : WordListener {
    bool word(const Hypothesis& so_far) override {
      EXPECT_FALSE(so_far.tokens.empty());
      ++calls;
      return true;
    }
    size_t calls = 0;
  };
  LcwFile file = LcwFile::of(smallest_config());
  const auto model = open_model(file);
  const size_t words = model->word_piece().size();
  const auto word = static_cast<uint32_t>(words - 1);
  file.tensor("head.bias").floats()[word] = -std::numeric_limits<float>::infinity();
  const Constraints constraints({{{word}}}, std::vector<bool>(words, false));
  for (const size_t beams : {size_t{1}, size_t{2}}) {
    for (const bool listens : {false, true}) {
      Count count;
      DecodeOptions options = {.beams = beams, .constraints = &constraints};
      if (listens) options.listener = &count;
      Session session(open_model(file), {.kernels = &best_kernels(),
                                         .threads = 1,
                                         .max_beams = beams,
                                         .max_states = constraints.states()});
      const std::string error = error_of([&] { caption(session, {}, options); }, ErrorCode::kModel);
      expect_has(error, "not finite");
      EXPECT_EQ(count.calls > 0, listens);
    }
  }
}

TEST(NotFinite, ObjectnessThatRulesOutEveryBoxIsNone) {
  LcwFile file = sure_detector();
  for (int scale = 0; scale < 3; ++scale) {
    file.tensor("detector.model.24.m." + std::to_string(scale) + ".bias").floats()[4] =
        -std::numeric_limits<float>::infinity();
  }
  Session session = session_of(file);
  caption(session);
  EXPECT_EQ(session.concepts().size(), 1u);  // the whole picture
}

// ---- The modulator's width ----

TEST(ModulatorWidth, IsTheFusionModelsInOlderFiles) {
  Config config = smallest_config();
  config.modulator.width = config.fusion.width;
  LcwFile file = LcwFile::of(config);
  const auto forget = [&] {
    std::erase_if(file.keys, [](const auto& key) { return key.first == "modulator.width"; });
  };
  forget();
  EXPECT_EQ(open_model(file)->config().modulator.width, config.fusion.width);
  config.modulator.width = 2;
  file = LcwFile::of(config);
  EXPECT_EQ(open_model(file)->config().modulator.width, 2u);
  forget();
  expect_has(error_of_opening(file), "expected modulator.fc1.weight [16, 16] in panels of 16");
}

TEST(ModulatorWidth, OfTheModelThatShipsIsOld) {
  const Model model(WeightsFile::open(LIGHTCAP_DEMO_MODEL));
  EXPECT_EQ(model.config().modulator.width, model.config().fusion.width);
}

}  // namespace
}  // namespace lightcap::internal::testing
