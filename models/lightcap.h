// LightCap as a whole: a model that sessions share, and a session that captions. This is the C++
// that api/lightcap.h puts a C face on.
#ifndef LIGHTCAP_MODELS_LIGHTCAP_H_
#define LIGHTCAP_MODELS_LIGHTCAP_H_

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/image/image.h"
#include "engine/image/resize.h"
#include "engine/runtime/ops.h"
#include "engine/text/wordpiece.h"
#include "models/concept_extractor.h"
#include "models/decoder.h"
#include "models/detector.h"
#include "models/ensemble_head.h"
#include "models/fusion.h"
#include "models/image_encoder.h"
#include "models/modulator.h"
#include "models/weights.h"

namespace lightcap {

// Weights with the graph around them. Immutable: any number of sessions use it at once.
class Model {
 public:
  explicit Model(WeightsFile file);
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

 private:
  // Before the blocks, which are made from it.
  const Weights weights_;

 public:
  const Config& config() const { return weights_.config(); }
  const Weights& weights() const { return weights_; }
  std::string_view label(size_t concept_index) const { return labels_[concept_index]; }
  const std::vector<uint32_t>& label_tokens(size_t concept_index) const {
    return label_tokens_[concept_index];
  }

  const WordPiece word_piece;
  const ImageEncoder image_encoder;
  const Detector detector;
  const ConceptExtractor concept_extractor;
  const Modulator modulator;
  const Fusion fusion;
  const EnsembleHead head;
  const Decoder decoder;

  // Transformed weights that sessions share; safe on several threads.
  WinogradCache& winograd_cache() const { return *winograd_cache_; }

 private:
  const std::unique_ptr<WinogradCache> winograd_cache_;
  std::vector<std::string> labels_;                  // null-terminated, for the C API
  std::vector<std::vector<uint32_t>> label_tokens_;  // WordPiece ids of each label
};

struct Concept {
  uint32_t label = 0;  // row of the concept vocabulary
  float similarity = 0;
  float score = 0;
  std::array<float, 4> box = {};  // x1 y1 x2 y2 in pixels of the image
};

struct Timings {
  double preprocess = 0, detector = 0, image_encoder = 0, concepts = 0, fusion_prefix = 0,
         decoding = 0;
};

// Called with a stage's result, fp32 and row-major.
using Trace =
    std::function<void(const char* name, const float* data, std::initializer_list<size_t> dims)>;

// The kernels of the instruction set `name`; where it is null those of $LIGHTCAP_ISA, else the best
// that this machine has. Throws Error(kIsa), with a list of what there is.
const KernelTable& choose_kernels(const char* name);
// cpu_count(), 8 at most.
int default_threads();

struct SessionOptions {
  const KernelTable* kernels = nullptr;
  int threads = 1;
  Executor executor = {};
  size_t max_beams = 1;
  bool low_memory = false;       // without Winograd's weights
  Observer* observer = nullptr;  // of every layer; outlives the session
};

// Memory and threads for one caption at a time. All memory is allocated by the constructor, which
// throws Error(kModel) where a caption would take more memory or time than engine/io/limits.h
// allows a model of this size.
class Session {
 public:
  Session(std::shared_ptr<const Model> model, const SessionOptions& options);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // The whole caption. Results below last until the next call. Throws Error. In a forked child it
  // first starts the session's threads again, which is the one thing that takes memory.
  void caption(const ImageView& image, const DecodeOptions& options);

  const std::string& text() const { return text_; }
  const Hypothesis& hypothesis() const { return *hypothesis_; }
  const std::vector<Concept>& concepts() const { return concepts_; }
  const Timings& timings() const { return timings_; }

  // The stages, which `caption` runs in this order; each needs those before it to have run once.
  void preprocess(const ImageView& image);
  void detect();
  void encode_image();
  void find_concepts();
  void fuse();
  void decode(const DecodeOptions& options);
  // Parts of decoding alone, for benchmarks: one greedy step at slot t, and its head.
  void decode_step(size_t t);
  void head_step();
  size_t decode_steps() const { return decoder_state_.steps; }

  const Model& model() const { return *model_; }
  const KernelTable& kernels() const { return runtime_.kernels; }
  // Fewer than asked for where the system would not start more; thread_error() is errno's reason.
  int threads() const { return pool_.threads(); }
  int thread_error() const { return pool_.start_error(); }
  size_t max_beams() const { return max_beams_; }
  // The arena, and what the weights take: the same for every caption.
  size_t peak_bytes() const;
  // What a caption takes at most, as limits::caption_steps counts it.
  double planned_steps() const { return planned_steps_; }

  Trace trace;

 private:
  void allocate();
  void plan();
  void run_for_planning();
  void check_plan() const;
  void trace_matrix(const char* name, Matrix x) const;
  void trace_channels_first(const char* name, const Tensor& x) const;
  void trace_detections() const;

  std::shared_ptr<const Model> model_;
  ThreadPool pool_;
  Arena arena_;
  ConvPlan convs_;
  double planned_steps_ = 0;
  const Runtime runtime_;
  const size_t max_beams_;
  const ValueTable value_table_;

  // What stages hand to each other, in the arena.
  float* encoder_memory_ = nullptr;
  float* detector_memory_ = nullptr;
  Tensor encoder_input_;   // [S + 2][S + 2][3], with the padding that the encoder wants
  Tensor detector_input_;  // [h + 4][w + 4][3]
  std::array<Tensor, Detector::kScales> raw_detections_;
  std::array<float*, Detector::kScales> raw_memory_ = {};
  Tensor features_;        // [G][G][C]
  Matrix roi_features_;    // [K][C]
  Matrix similarity_;      // [K][N]
  Tensor modulated_;       // [G][G][C]
  float* gate_ = nullptr;  // [C]
  Matrix prefix_;          // [P][d]
  Fusion::State fusion_state_;
  Decoder::State decoder_state_;

  EncoderGeometry encoder_geometry_;
  LetterboxGeometry letterbox_;
  size_t image_width_ = 0, image_height_ = 0;
  std::vector<Box> boxes_;          // proposals in pixels of the image
  std::vector<Box> encoder_boxes_;  // the same in pixels of the encoder's input
  std::vector<uint32_t> prefix_tokens_;

  std::vector<Concept> concepts_;
  const Hypothesis* hypothesis_ = nullptr;
  std::string text_;
  Timings timings_;
};

}  // namespace lightcap

#endif  // LIGHTCAP_MODELS_LIGHTCAP_H_
