#include "models/lightcap.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "engine/io/limits.h"
#include "engine/runtime/cpu_count.h"
#include "engine/runtime/error.h"
#include "kernels/dispatch.h"

namespace lightcap::internal {
namespace {

std::string supported_isas() {
  std::string names;
  for (size_t i = 0; i < isa_count(); ++i) {
    if (isa_supported(isa_at(i))) names += std::string(names.empty() ? "" : ", ") + isa_at(i).name;
  }
  return names;
}

// Bytes that transformed weights may take beside the model. Larger models than LightCap's may take
// as many bytes as they have weights.
constexpr size_t kWinogradBudget = size_t{44} << 20;
// The same for weights of f16 and bf16, of which fewer bytes of the file are given back: with
// LightCap's own sizes a process then stays under 64 MiB beside the file.
constexpr size_t kNarrowWinogradBudget = size_t{32} << 20;
// The same for an int8 model, whose session then stays under 72 MiB with the file, and larger ones.
constexpr size_t kIntegerWinogradBudget = size_t{10} << 20;

size_t winograd_budget(const Model& model) {
  const size_t weights = model.weights().values();
  if (model.config().is_int8()) return std::max(kIntegerWinogradBudget, weights / 5);
  // Nearly all weights are those of matrices, whose type the converter chooses for all of them.
  const bool is_narrow = model.weights().bytes() < 3 * weights;
  return is_narrow ? std::max(kNarrowWinogradBudget, weights / 3 * 2)
                   : std::max(kWinogradBudget, weights);
}

ThreadPool make_pool(const SessionOptions& options) {
  return options.executor.parallel_for != nullptr ? ThreadPool(options.executor, options.threads)
                                                  : ThreadPool(options.threads);
}

std::string short_number(double count) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", count);
  return text;
}

}  // namespace

const KernelTable& choose_kernels(const char* name) {
  const char* source = "asked for";
  if (name == nullptr) {
    name = std::getenv("LIGHTCAP_ISA");
    source = "in LIGHTCAP_ISA";
  }
  if (name == nullptr || *name == '\0') return best_kernels();
  if (const KernelTable* kernels = find_kernels(name)) return *kernels;
  bool built_in = false;
  for (size_t i = 0; i < isa_count(); ++i)
    built_in = built_in || std::strcmp(isa_at(i).name, name) == 0;
  throw Error(ErrorCode::kIsa, std::string("the instruction set \"") + name + "\" " + source +
                                   (built_in ? " is not supported by this CPU" : " is unknown") +
                                   "; there are: " + supported_isas());
}

int default_threads() {
  constexpr int kMost = 8;
  return std::min(cpu_count(), kMost);
}

Session::Session(std::shared_ptr<const Model> model, const SessionOptions& options)
    : model_(std::move(model)),
      pool_(make_pool(options)),
      arena_(limits::session_bytes(model_->weights().values())),
      runtime_{.kernels = *options.kernels,
               .pool = pool_,
               .arena = arena_,
               .convs = options.low_memory || options.tap != nullptr ? nullptr : &convs_,
               .observer = options.observer,
               .planned_steps = &planned_steps_,
               .tap = options.tap,
               .interruption = &interruption_},
      room_{.beams = options.max_beams, .states = options.max_states},
      inputs_(model_->config()),
      pipeline_(*model_),
      captioner_(*model_, room_) {
  plan();
}

// Plans once to see the convolutions and choose how to compute them, once to learn how much memory
// that takes.
void Session::plan() {
  if (runtime_.convs != nullptr) {
    plan_within_limits();  // before weights are transformed
    arena_.restart();
    convs_.choose(model_->winograd_cache(), winograd_budget(*model_));
    convs_.prepare(pool_);
  }
  plan_within_limits();
  arena_.allocate();
  allocate();
  inputs_.clear_padding();
}

// The memory that outlives a stage.
void Session::allocate() {
  inputs_.allocate(arena_);
  pipeline_.allocate(arena_, room_.rows());
  captioner_.allocate(arena_, pipeline_.fusion_state());
}

// Runs every stage for the largest inputs over the planning arena, see Runtime.
void Session::plan_stages() {
  planned_steps_ = 0;
  allocate();
  inputs_.plan(runtime_);
  pipeline_.plan(runtime_, inputs_);
  const double before = planned_steps_;
  captioner_.plan(runtime_);
  planned_steps_ += (planned_steps_ - before) * (static_cast<double>(captioner_.most_steps()) - 1);
}

void Session::plan_within_limits() {
  try {
    plan_stages();
  } catch (const ArenaLimitExceeded&) {  // check_plan() says more
  }
  check_plan();
}

void Session::check_plan() const {
  const uint64_t weights = model_->weights().values();
  const auto check = [&](double planned, uint64_t limit, const char* what) {
    if (planned <= static_cast<double>(limit)) return;
    throw Error(ErrorCode::kModel,
                model_->weights().file().source() + ": a caption would take " +
                    short_number(planned) + " " + what + ", more than " +
                    short_number(static_cast<double>(limit)) + ", the limit for a model of " +
                    std::to_string(weights) + " weights: its image sizes, tokens or outputs" +
                    (room_.states > 0 ? ", or the beams and states asked for," : "") +
                    " are too many");
  };
  check(static_cast<double>(arena_.peak_bytes()), limits::session_bytes(weights),
        "bytes of memory");
  check(planned_steps_, limits::caption_steps(weights), "steps of arithmetic");
}

size_t Session::peak_bytes() const {
  return model_->weights().bytes() + convs_.extra_bytes() + arena_.peak_bytes();
}

void Session::run(Stage stage, const Frame& image, const DecodeOptions& options,
                  StepObserver* step_observer) {
  switch (stage) {
    case Stage::kPreprocess:
      return inputs_.run(runtime_, image);
    case Stage::kDetect:
      return pipeline_.detect(runtime_, inputs_);
    case Stage::kEncodeImage:
      return pipeline_.encode_image(runtime_, inputs_);
    case Stage::kFindConcepts:
      return pipeline_.find_concepts(runtime_, inputs_);
    case Stage::kEmbedPrefix:
      return pipeline_.embed_prefix(runtime_);
    case Stage::kRunPrefix:
      return pipeline_.run_prefix(runtime_);
    case Stage::kDecode:
      return captioner_.run(runtime_, options, step_observer);
  }
}

ImageUse Session::picture_use() const {
  const Config& config = model_->config();
  return {&interruption_, config.image_encoder.image_size, config.detector.image_size};
}

void Session::run_until(Stage last, const Frame& image) {
  pool_.after_fork();
  for (size_t i = 0; i <= static_cast<size_t>(last); ++i)
    run(static_cast<Stage>(i), image, DecodeOptions{}, nullptr);
}

void Session::caption(const Frame& image, const DecodeOptions& options,
                      std::span<StageObserver* const> observers, std::span<const Stage> stages) {
  pool_.after_fork();
  StepObserver* step_observer = nullptr;
  for (StageObserver* observer : observers) {
    if (step_observer == nullptr) step_observer = observer->step_observer();
  }
  for (const Stage stage : stages) {
    runtime_.check_interruption();
    for (StageObserver* observer : observers) observer->begin(stage);
    run(stage, image, options, step_observer);
    for (size_t i = observers.size(); i-- > 0;) observers[i]->end(stage, *this);
  }
}

}  // namespace lightcap::internal
