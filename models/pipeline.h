// From the networks' inputs to the prefix that captions are written for: detector, image encoder,
// concepts, fusion.
#ifndef LIGHTCAP_MODELS_PIPELINE_H_
#define LIGHTCAP_MODELS_PIPELINE_H_

#include <array>
#include <cstdint>
#include <vector>

#include "models/model.h"
#include "models/network_inputs.h"

namespace lightcap::internal {

// A region of the picture and the concept that it shows.
struct Concept {
  uint32_t label = 0;             // row of the concept vocabulary, see Model::label
  float similarity = 0;           // cosine, of the region's embedding and the concept's
  float score = 0;                // the detector's
  std::array<float, 4> box = {};  // x1 y1 x2 y2 in pixels of the picture
};

// Stages run in the order in which they stand here; each needs those before it to have run once for
// the inputs. Results last until the stage runs again; tensors are views of the arena.
class Pipeline {
 public:
  // `model` outlives it.
  explicit Pipeline(const Model& model);

  // Takes the memory of the arena that outlives a stage, fusion state for so many beams included.
  void allocate(Arena& arena, size_t beams);
  // Plans all stages, for as many boxes and tokens as there may be; `inputs` have been planned.
  void plan(const Runtime& runtime, const NetworkInputs& inputs);

  // Proposes boxes; where there is nothing to see, the whole picture.
  void detect(const Runtime& runtime, const NetworkInputs& inputs);
  void encode_image(const Runtime& runtime, const NetworkInputs& inputs);
  // Finds the most similar concept for every box. Throws Error(kModel) where damaged weights make
  // NaN.
  void find_concepts(const Runtime& runtime, const NetworkInputs& inputs);
  // Modulates the features by the concepts, and embeds both as the prefix.
  void embed_prefix(const Runtime& runtime);
  // Runs the fusion model over the prefix, which is overwritten, and keeps its keys and values.
  void run_prefix(const Runtime& runtime);

  const std::vector<Box>& boxes() const { return boxes_; }  // in pixels of the picture, best first
  const Tensor& features() const { return features_; }      // [G][G][C]
  const std::vector<Concept>& concepts() const { return concepts_; }                  // one a box
  Matrix roi_features() const { return roi_features_.first_rows(boxes_.size()); }     // [boxes][C]
  Matrix similarity() const { return similarity_.first_rows(boxes_.size()); }         // [boxes][N]
  Matrix gate() const { return {gate_, 1, features_.channels, features_.channels}; }  // [1][C]
  Matrix prefix() const;  // [concept tokens + G*G][d], until run_prefix()
  // The keys and values of the prefix, to which decoding adds those of its captions.
  Fusion::State& fusion_state() { return fusion_state_; }

 private:
  void choose_tokens();
  void embed_tokens(const Runtime& runtime);
  void choose_concepts();

  const Model& model_;
  std::array<float*, Detector::kScales> raw_memory_ = {};  // for the largest letterbox
  std::array<Tensor, Detector::kScales> raw_;              // [h/s][w/s][outputs per cell]
  Tensor features_, modulated_;                            // [G][G][C]
  Matrix roi_features_;                                    // [K][C]
  Matrix similarity_;                                      // [K][N]
  float* gate_ = nullptr;                                  // [C]
  Matrix prefix_;                                          // [most tokens][d]
  Fusion::State fusion_state_;

  std::vector<Box> boxes_;          // in pixels of the picture
  std::vector<Box> encoder_boxes_;  // the same in pixels of the encoder's input
  std::vector<Concept> concepts_;
  std::vector<uint32_t> tokens_;  // of the concepts' labels, and [SEP]
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_PIPELINE_H_
