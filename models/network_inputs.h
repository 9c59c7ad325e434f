// Preprocessing: a picture becomes the inputs of the image encoder and of the detector.
#ifndef LIGHTCAP_MODELS_NETWORK_INPUTS_H_
#define LIGHTCAP_MODELS_NETWORK_INPUTS_H_

#include "engine/image/image.h"
#include "engine/runtime/ops.h"
#include "models/config.h"
#include "models/preprocess.h"

namespace lightcap::internal {

// The places of a picture's pixels in the inputs of the two networks.
struct PictureGeometry {
  size_t width = 0, height = 0;  // of the picture
  EncoderGeometry encoder;
  LetterboxGeometry detector;

  // From pixels of the detector's input to pixels of the picture, cut at its edges.
  Box from_detector(const Box& box) const;
  // From pixels of the picture to pixels of the encoder's input, cut at its edges; the whole input
  // where nothing of the box is left.
  Box to_encoder(const Box& box) const;
  // All of the picture, with score 0.
  Box whole() const;
};

class NetworkInputs {
 public:
  explicit NetworkInputs(const Config& config);

  // Takes the inputs' memory of the arena. Once that is real, clear_padding() fills the encoder's.
  void allocate(Arena& arena);
  void clear_padding();

  // Plans the largest picture there is.
  void plan(const Runtime& runtime);
  // Computes everything below from 8-bit RGB. Takes scratch of the arena.
  void run(const Runtime& runtime, const ImageView& image);

  const PictureGeometry& geometry() const { return geometry_; }
  // [S + 2][S + 2][3] and [h + 4][w + 4][3], with the zero padding that the networks want around
  // them; h and w are multiples of 32. Views of the arena.
  const Tensor& encoder() const { return encoder_; }
  const Tensor& detector() const { return detector_; }
  // The same without their padding: [S][S][3], [h][w][3].
  Tensor encoder_pixels() const;
  Tensor detector_pixels() const;

 private:
  void place(size_t width, size_t height);
  void resize(const Runtime& runtime, const ImageView& image);

  const size_t encoder_size_, detector_size_;
  const bool center_crop_;
  const ValueTable normalized_;
  float* detector_memory_ = nullptr;  // for the largest letterbox
  Tensor encoder_, detector_;
  PictureGeometry geometry_;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_NETWORK_INPUTS_H_
