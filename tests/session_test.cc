// A session's promises beyond right numbers: the same bits for any number of threads, no
// allocation, one embedding, independence of sessions.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cmath>
#include <memory>
#include <thread>
#include <vector>

#include "kernels/dispatch.h"
#include "models/lightcap.h"
#include "models/required_words.h"
#include "models/schema.h"
#include "models/trace.h"
#include "tests/allocations.h"
#include "tests/small_model.h"

namespace lightcap::internal {
namespace {

constexpr DecodeOptions kBeams = {.beams = 3};

// Four states: two words that are unlikely enough to be no part of plain captions.
RequiredWords two_words(const std::shared_ptr<const Model>& model) {
  RequiredWords words(model);
  words.add({"poko", "rafo"});
  words.add({"tafe"});
  return words;
}

class Picture {
 public:
  Picture(size_t width, size_t height)
      : width_(width), height_(height), pixels_(3 * width * height) {
    for (size_t i = 0; i < pixels_.size(); ++i) {
      pixels_[i] = static_cast<uint8_t>((i * i / 977 + i / 3) % 256);
    }
  }
  ImageView view() const { return {pixels_.data(), width_, height_, 3 * width_}; }

 private:
  size_t width_, height_;
  std::vector<uint8_t> pixels_;
};

struct Outcome {
  std::vector<uint32_t> tokens;
  double score;
  std::vector<float> numbers;

  bool operator==(const Outcome&) const = default;
};

Outcome outcome_of(const Session& session) {
  Outcome outcome = {session.hypothesis().tokens, session.hypothesis().score, {}};
  for (const Concept& found : session.concepts()) {
    outcome.numbers.insert(outcome.numbers.end(),
                           {static_cast<float>(found.label), found.similarity, found.score});
    outcome.numbers.insert(outcome.numbers.end(), found.box.begin(), found.box.end());
  }
  return outcome;
}

Outcome caption(const std::shared_ptr<const Model>& model, const KernelTable& kernels, int threads,
                const DecodeOptions& options) {
  const size_t states = options.constraints == nullptr ? 0 : options.constraints->states();
  Session session(
      model,
      {.kernels = &kernels, .threads = threads, .max_beams = options.beams, .max_states = states});
  std::vector<float> traced;
  Trace trace([&](const char*, const float* data, std::initializer_list<size_t> dims) {
    size_t count = 1;
    for (const size_t dim : dims) count *= dim;
    traced.insert(traced.end(), data, data + count);
  });
  session.caption(Picture(97, 61).view(), options, std::array<StageObserver*, 1>{&trace});
  Outcome outcome = outcome_of(session);
  outcome.numbers.insert(outcome.numbers.end(), traced.begin(), traced.end());
  return outcome;
}

void expect_same_bits_for_any_number_of_threads(const std::shared_ptr<const Model>& model) {
  const RequiredWords words = two_words(model);
  const DecodeOptions constrained = {.beams = 2, .constraints = &words.constraints()};
  for (size_t i = 0; i < isa_count(); ++i) {
    if (!isa_supported(isa_at(i))) continue;
    for (const DecodeOptions& options : {DecodeOptions{}, kBeams, constrained}) {
      const Outcome one = caption(model, *isa_at(i).table, 1, options);
      ASSERT_FALSE(one.tokens.empty());
      for (const int threads : {2, 3, 4}) {
        EXPECT_TRUE(caption(model, *isa_at(i).table, threads, options) == one)
            << isa_at(i).name << " with " << threads << " threads";
      }
    }
  }
}

TEST(Session, SameBitsForAnyNumberOfThreads) {
  expect_same_bits_for_any_number_of_threads(testing::small_model());
}

TEST(Session, SameBitsForAnyNumberOfThreadsInInt8) {
  expect_same_bits_for_any_number_of_threads(testing::int8_model());
}

void expect_no_allocation(const std::shared_ptr<const Model>& model) {
  const RequiredWords words = two_words(model);
  const DecodeOptions constrained = {.beams = 3, .constraints = &words.constraints()};
  Session session(model,
                  {.kernels = &best_kernels(), .threads = 2, .max_beams = 3, .max_states = 4});
  const Picture pictures[] = {Picture(640, 480), Picture(31, 200), Picture(1, 1),
                              Picture(1500, 90)};
  for (const Picture& picture : pictures) {
    for (const DecodeOptions& options : {DecodeOptions{}, kBeams, constrained}) {
      const size_t before = testing::allocations();
      session.caption(picture.view(), options);
      EXPECT_EQ(testing::allocations(), before);
    }
  }
}

TEST(Session, CaptionsAllocateNothing) { expect_no_allocation(testing::small_model()); }

TEST(Session, CaptionsAllocateNothingInInt8) { expect_no_allocation(testing::int8_model()); }

TEST(Session, ResultsDoNotDependOnEarlierCaptions) {
  Session session(testing::small_model(),
                  {.kernels = &best_kernels(), .threads = 2, .max_beams = 3});
  session.caption(Picture(97, 61).view(), kBeams);
  const Outcome first = outcome_of(session);
  session.caption(Picture(200, 300).view(), {});
  session.caption(Picture(33, 12).view(), kBeams);
  session.caption(Picture(97, 61).view(), kBeams);
  EXPECT_TRUE(outcome_of(session) == first);
}

TEST(Session, WordsThatAreRequiredAreInEveryCaptionAndInNoOtherSearch) {
  const auto model = testing::small_model();
  const RequiredWords words = two_words(model);
  Session plain(model, {.kernels = &best_kernels(), .threads = 2, .max_beams = 3});
  Session session(model,
                  {.kernels = &best_kernels(), .threads = 2, .max_beams = 3, .max_states = 4});
  EXPECT_GT(session.peak_bytes(), plain.peak_bytes());
  for (const size_t beams : {size_t{1}, size_t{3}}) {
    const DecodeOptions options = {.beams = beams, .length_penalty = 0.5};
    DecodeOptions constrained = options;
    constrained.constraints = &words.constraints();
    session.caption(Picture(97, 61).view(), constrained);
    EXPECT_EQ(session.captioner().hypotheses().size(), beams);
    for (const Hypothesis& caption : session.captioner().hypotheses()) {
      EXPECT_NE(words.find(0, caption.tokens), nullptr);
      EXPECT_NE(words.find(1, caption.tokens), nullptr);
      EXPECT_DOUBLE_EQ(caption.score, caption.sum / std::sqrt(caption.tokens.size()));
    }
    EXPECT_NE(session.text().find("tafe"), std::string::npos);
    session.caption(Picture(97, 61).view(), options);
    plain.caption(Picture(97, 61).view(), options);
    EXPECT_TRUE(outcome_of(session) == outcome_of(plain));
    EXPECT_EQ(words.find(1, session.hypothesis().tokens), nullptr);
  }
}

TEST(Session, ManySessionsShareAModel) {
  const auto model = testing::small_model();
  Session alone(model, {.kernels = &best_kernels(), .threads = 1, .max_beams = 3});
  alone.caption(Picture(97, 61).view(), kBeams);
  const Outcome expected = outcome_of(alone);
  std::atomic<int> wrong{0};
  std::vector<std::thread> users;
  for (int user = 0; user < 4; ++user) {
    users.emplace_back([&, user] {
      Session session(model, {.kernels = &best_kernels(), .threads = 1 + user % 2, .max_beams = 3});
      for (int run = 0; run < 3; ++run) {
        session.caption(Picture(97, 61).view(), kBeams);
        if (!(outcome_of(session) == expected)) wrong.fetch_add(1);
      }
    });
  }
  for (std::thread& user : users) user.join();
  EXPECT_EQ(wrong.load(), 0);
}

// Counts what it is told of.
struct Watcher final : Observer {
  void begin(const LayerWork& work) override {
    nested = nested || inside;
    inside = true;
    layers += 1;
    nameless_product = nameless_product || (work.macs > 0 && work.name.empty());
    sized = sized && work.height * work.width * work.out > 0 && work.bytes > 0;
  }
  void end() override { inside = false; }
  void task_begin() override { tasks.fetch_add(1); }
  void task_end() override { tasks_done.fetch_add(1); }

  size_t layers = 0;
  bool inside = false, nested = false, nameless_product = false, sized = true;
  std::atomic<size_t> tasks{0}, tasks_done{0};
};

TEST(Session, IsTheSameWhenObserved) {
  const auto model = testing::small_model();
  Session alone(model, {.kernels = &best_kernels(), .threads = 2, .max_beams = 3});
  alone.caption(Picture(97, 61).view(), kBeams);
  Watcher watcher;
  Session observed(
      model, {.kernels = &best_kernels(), .threads = 2, .max_beams = 3, .observer = &watcher});
  const size_t planned = watcher.layers;
  EXPECT_GT(planned, 100u);
  EXPECT_EQ(watcher.tasks.load(), 0u);  // planning computes nothing
  observed.caption(Picture(97, 61).view(), kBeams);
  EXPECT_TRUE(outcome_of(observed) == outcome_of(alone));
  EXPECT_GT(watcher.layers, 2 * planned);
  EXPECT_GT(watcher.tasks.load(), watcher.layers - planned);
  EXPECT_EQ(watcher.tasks.load(), watcher.tasks_done.load());
  EXPECT_FALSE(watcher.inside);
  EXPECT_FALSE(watcher.nested);
  EXPECT_FALSE(watcher.nameless_product);
  EXPECT_TRUE(watcher.sized);
}

TEST(Session, LookupAndHeadReadTheSameEmbedding) {
  const auto model = testing::small_model();
  const WeightsFile& file = model->weights().file();
  const Config::Fusion& config = model->config().fusion;
  size_t copies = 0;
  for (const TensorEntry& tensor : file.tensors()) {
    copies += tensor.dims == std::vector<uint64_t>{config.vocabulary, config.width} ? 1 : 0;
  }
  EXPECT_EQ(copies, 1u);
  const TensorEntry* entry = file.find_tensor("bert.embeddings.word_embeddings.weight");
  ASSERT_NE(entry, nullptr);
  const void* mapped = file.data(*entry);
  EXPECT_EQ(model->head().word_embedding().matrix.data, mapped);
  EXPECT_EQ(model->fusion().word_embedding().matrix.data, mapped);
  EXPECT_EQ(model->modulator().word_embedding().matrix.data, mapped);
}

TEST(Session, PeakIsTheFileAndTheArena) {
  const auto model = testing::small_model();
  Session session(model, {.kernels = &best_kernels(), .threads = 1, .max_beams = 1});
  const size_t file_bytes = model->weights().file().bytes().size;
  EXPECT_GT(session.peak_bytes(), file_bytes);
  EXPECT_LT(session.peak_bytes(), file_bytes + (size_t{64} << 20));
}

}  // namespace
}  // namespace lightcap::internal
