// LightCap as a whole: a session captions pictures with a model that sessions share. This is the
// C++ that api/lightcap.h puts a C face on.
#ifndef LIGHTCAP_MODELS_LIGHTCAP_H_
#define LIGHTCAP_MODELS_LIGHTCAP_H_

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/image/frame.h"
#include "engine/runtime/ops.h"
#include "models/captioner.h"
#include "models/model.h"
#include "models/network_inputs.h"
#include "models/pipeline.h"
#include "models/stage.h"

namespace lightcap::internal {

// The kernels of the instruction set `name`; where it is null those of $LIGHTCAP_ISA, else the best
// that this machine has. Throws Error(kIsa), with a list of what there is.
const KernelTable& choose_kernels(const char* name);
// cpu_count(), 8 at most.
int default_threads();

struct SessionOptions {
  const KernelTable* kernels = nullptr;  // required
  int threads = 1;                       // at least 1, the caller's included
  Executor executor = {};                // the host's threads instead; see ThreadPool
  size_t max_beams = 1;                  // 1 to kMaxBeams
  size_t max_states = 0;                 // of a caption's constraints, at most kMaxConstraintStates
  bool low_memory = false;       // every convolution is direct: slower, without extra weights
  Observer* observer = nullptr;  // of every layer; outlives the session
  // Sees every operation's numbers, and makes every convolution direct; outlives the session.
  ValueTap* tap = nullptr;
};

// Memory and threads for one caption at a time. All memory is allocated by the constructor, which
// throws Error(kModel) where a caption would take more memory or time than engine/io/limits.h
// allows a model of this size, and std::bad_alloc.
class Session {
 public:
  // Keeps the model.
  Session(std::shared_ptr<const Model> model, const SessionOptions& options);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // All stages. options.beams is at most max_beams(), and constraints have at most max_states().
  // Observers see each of them, in their order; at most one of them sees steps. The results last
  // until the next call. Throws Error. In a forked child it first starts the session's threads
  // again, which is the one thing that takes memory. The results of stages that `stages` leaves
  // out are not there.
  void caption(const Frame& image, const DecodeOptions& options,
               std::span<StageObserver* const> observers = {},
               std::span<const Stage> stages = kCaptionStages);

  // Ends captions that come, as interruption.h has it; none to begin with. They throw
  // Error(kCancelled) then. Not to be called while the session captions.
  void expect_interruption(const Interruption::Request& request) { interruption_.expect(request); }

  // For decoding the next caption's picture: what ends it, and how large a picture preprocessing
  // makes use of.
  ImageUse picture_use() const;

  // The stages up to `last`, with greedy search if that is the last of all.
  void run_until(Stage last, const Frame& image);

  // The results: of the parts as they are documented there, and the same in short.
  const NetworkInputs& inputs() const { return inputs_; }
  const Pipeline& pipeline() const { return pipeline_; }
  const Captioner& captioner() const { return captioner_; }
  const std::string& text() const { return captioner_.text(); }
  const Hypothesis& hypothesis() const { return captioner_.hypothesis(); }
  const std::vector<Concept>& concepts() const { return pipeline_.concepts(); }

  const Model& model() const { return *model_; }
  const KernelTable& kernels() const { return runtime_.kernels; }
  // Fewer than asked for where the system would not start more; thread_error() is errno's reason.
  int threads() const { return pool_.threads(); }
  int thread_error() const { return pool_.start_error(); }
  size_t max_beams() const { return room_.beams; }
  size_t max_states() const { return room_.states; }
  // The arena, and what the weights take: the same for every caption.
  size_t peak_bytes() const;
  // The steps that a caption takes at most, as limits::caption_steps counts them.
  double planned_steps() const { return planned_steps_; }

 private:
  friend class StageBench;  // runs stages and parts of them alone

  void allocate();
  void plan();
  void plan_stages();
  void plan_within_limits();
  void check_plan() const;
  void run(Stage stage, const Frame& image, const DecodeOptions& options,
           StepObserver* step_observer);

  const std::shared_ptr<const Model> model_;
  ThreadPool pool_;
  Arena arena_;
  ConvPlan convs_;
  double planned_steps_ = 0;
  Interruption interruption_;
  const Runtime runtime_;
  const SearchRoom room_;

  NetworkInputs inputs_;
  Pipeline pipeline_;
  Captioner captioner_;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_LIGHTCAP_H_
