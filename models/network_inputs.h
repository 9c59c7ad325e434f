// Preprocessing: a picture becomes the inputs of the image encoder and of the detector.
#ifndef LIGHTCAP_MODELS_NETWORK_INPUTS_H_
#define LIGHTCAP_MODELS_NETWORK_INPUTS_H_

#include <vector>

#include "engine/image/frame.h"
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
  // Computes everything below from a picture. Takes scratch of the arena.
  void run(const Runtime& runtime, const Frame& image);

  const PictureGeometry& geometry() const { return geometry_; }
  // [S + 2][S + 2][3] and [h + 4][w + 4][3], with the zero padding that the networks want around
  // them; h and w are multiples of 32. Views of the arena. An int8 model has bytes, with
  // kBytePixel channels, and no floats; others have no bytes.
  template <class T>
  const TensorOf<T>& encoder() const {
    return inputs<T>().encoder;
  }
  template <class T>
  const TensorOf<T>& detector() const {
    return inputs<T>().detector;
  }
  // The inputs without their padding, as numbers: [3][S][S] and [3][h][w]. Allocates.
  std::vector<float> encoder_values() const;
  std::vector<float> detector_values() const;

 private:
  template <class T>
  struct Inputs {
    TensorOf<T> encoder, detector;
    T* detector_memory = nullptr;  // for the largest letterbox
  };
  template <class T>
  const Inputs<T>& inputs() const;
  template <class T>
  void allocate(Arena& arena, size_t channels, Inputs<T>& inputs);
  // Calls f with the inputs that the model has.
  template <class F>
  void visit(F&& f) {
    is_int8_ ? f(bytes_) : f(floats_);
  }
  void place(size_t width, size_t height);
  void resize(const Runtime& runtime, const Frame& image);

  const bool is_int8_;
  const size_t encoder_size_, detector_size_;
  const bool center_crop_;
  const ValueTable normalized_;
  Inputs<float> floats_;
  Inputs<uint8_t> bytes_;
  PictureGeometry geometry_;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_MODELS_NETWORK_INPUTS_H_
