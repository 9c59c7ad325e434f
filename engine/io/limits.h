// Limits on what a file may ask for. Every reader of files that we did not write draws on this
// page: each limit is either a constant that no real file comes near, or proportional to the bytes
// of the file itself, so that a small file cannot buy much memory or time. The error that a limit
// causes names the limit.
#ifndef LIGHTCAP_ENGINE_IO_LIMITS_H_
#define LIGHTCAP_ENGINE_IO_LIMITS_H_

#include <cstdint>
#include <string>
#include <utility>

#include "engine/runtime/error.h"

namespace lightcap::internal {

// Counts what one file has asked for against one limit. Not safe for threads.
class Budget {
 public:
  // `what` names the counted thing in the error: "bytes of unpacked data". `limit` is the most of
  // it.
  Budget(ErrorCode code, std::string what, uint64_t limit)
      : code_(code), what_(std::move(what)), limit_(limit), left_(limit) {}

  // Takes `amount` off what is left, or throws Error(code): "asks for more than 4096 bytes of
  // unpacked data, the limit for a file of this size". Call it before the memory or the time is
  // spent.
  void charge(uint64_t amount) {
    if (amount > left_) refuse();
    left_ -= amount;
  }
  uint64_t limit() const { return limit_; }
  uint64_t left() const { return left_; }

 private:
  [[noreturn]] void refuse() const {
    throw Error(code_, "asks for more than " + std::to_string(limit_) + " " + what_ +
                           ", the limit for a file of this size");
  }

  ErrorCode code_;
  std::string what_;
  uint64_t limit_;
  uint64_t left_;
};

namespace limits {

// base + factor * bytes, at most 2^63: a limit that grows with a file.
constexpr uint64_t proportional(uint64_t base, uint64_t factor, uint64_t bytes) {
  constexpr uint64_t kMost = uint64_t{1} << 63;
  if (factor != 0 && bytes > (kMost - base) / factor) return kMost;
  return base + factor * bytes;
}

// ---- Pictures ----
// Sizes in pixels and bytes are the caller's to set: ImageLimits in engine/image/image.h.

// How many coefficients the scans of a JPEG with `blocks` blocks of 8 x 8 samples may go over
// together, each scan's coming to a block counted as kJpegBlockVisit more: a scan need not hold
// more than a few bytes, or any, to cost 2 ns for each of these. Encoders' progressive scans take
// 160 to 370 a block, a baseline picture 144. Small pictures may have more, so that the limit is
// about time, not about taste.
constexpr uint64_t kJpegBlockVisit = 16;
constexpr uint64_t jpeg_coefficients(uint64_t blocks, uint64_t file_bytes) {
  constexpr uint64_t kOfABlock = 384, kAlways = uint64_t{1} << 27;
  const uint64_t coefficients = kOfABlock * blocks;
  return (coefficients > kAlways ? coefficients : kAlways) + file_bytes;
}

// The most bytes of compressed data that a PNG may have whose picture is `unpacked` bytes. Data
// that do not compress grow by a few bytes a row at most; blocks of nothing, of which each costs
// microseconds, could fill a file.
constexpr uint64_t png_packed_bytes(uint64_t unpacked) {
  return proportional(uint64_t{1} << 20, 2, unpacked);
}

// The most bytes of a PNG's text, unpacked, that may say how to turn the picture; one that is
// longer is not read. EXIF has at most 64 KB, XMP seldom more than that.
constexpr uint64_t kPngText = uint64_t{1} << 22;

// ---- Models (.lcw) ----

// LightCap's files have some fifty keys; names of keys and tensors have up to 70 bytes.
inline constexpr uint64_t kModelKeys = 4096;
inline constexpr uint64_t kModelNameBytes = 256;
// BERT's WordPiece knows no word of more than 100 characters, 400 bytes; labels are a word or two.
inline constexpr uint64_t kTokenBytes = 1024;
inline constexpr uint64_t kLabelBytes = 1024;

// A session's limits, for a model of so many weights, which is its file's size over the size of
// a weight. LightCap's 45 million, with the largest inputs there are (an encoder of 4064 x 4064
// pixels, a detector of 4096 x 4096): 3.9 of 4.6 GB, 2.7e12 of 4.6e12 steps, for one beam. At its
// own sizes: 21 MB, 9e9 steps.
//
// Bytes of memory for what is computed: 192 MiB, and 24 times the weights in fp32.
constexpr uint64_t session_bytes(uint64_t weights) {
  return proportional(uint64_t{192} << 20, 96, weights);
}
// Multiply-adds and what takes as long as one, for a whole caption: some 20 a nanosecond.
constexpr uint64_t caption_steps(uint64_t weights) {
  return proportional(uint64_t{1} << 35, 100'000, weights);
}

// ---- Checkpoints ----

// One budget a file. Charged are all bytes that reading its structure takes or goes through: values
// of its pickles, names, paths, attributes, entries that are looked up again for each alias, and
// what deflated entries unpack to; not the tensors' values as they lie in the file. Real
// checkpoints take less than a tenth of their own bytes, those without tensors some 8 bytes for
// each; the base is for small files with deflated entries.
constexpr uint64_t kCheckpointBase = uint64_t{128} << 20;
constexpr uint64_t kCheckpointFactor = 12;
inline Budget checkpoint_budget(uint64_t file_bytes, uint64_t base = kCheckpointBase) {
  return {ErrorCode::kCheckpoint, "bytes of names, values and unpacked data",
          proportional(base, kCheckpointFactor, file_bytes)};
}

// A deflated pickle or code file may unpack to this many bytes, or to so many times its own. Real
// ones are below 20.
constexpr uint64_t kUnpackedBase = uint64_t{1} << 20;
constexpr uint64_t kUnpackedFactor = 100;

// Bytes of the text that lists a checkpoint's tensors, where a tensor that is the same memory as
// another gives the name of that one. Real lists are smaller than their files.
constexpr uint64_t kListingBase = uint64_t{64} << 20;
constexpr uint64_t kListingFactor = 8;

// Bytes of the name of a Python class with its module, and of a storage's key. Such names are
// compared at each of thousands of uses; real ones have fewer than 200, keys are numbers.
constexpr uint64_t kMaxClassName = 1024;
constexpr uint64_t kMaxStorageKey = 1024;

// PyTorch's own limit.
constexpr uint64_t kMaxTensorDims = 64;

// Brackets within brackets in the index of a sharded checkpoint, which has two levels.
constexpr uint64_t kMaxIndexDepth = 64;

// Bytes that tensors' second names in a safetensors header may take. Each takes two texts of the
// header and some two hundred bytes in memory; modules have a few tied tensors.
constexpr uint64_t aliases(uint64_t header_bytes) {
  return proportional(uint64_t{1} << 20, 16, header_bytes);
}

// Bytes of a .lcw that may be made of checkpoints' tensors. A tensor can be a view that repeats
// its bytes, so that a few thousand could fill a disk. A file of int8 values grows fourfold, one
// of padded panels at most sixteenfold; the constant is a full-size model several times over, for
// weights that are made up. Each line of a vocabulary or of labels can ask for a row of those.
constexpr uint64_t model_bytes(uint64_t checkpoint_bytes, uint64_t lines) {
  constexpr uint64_t kRow = 8192;
  const uint64_t rows = proportional(uint64_t{1} << 30, kRow, lines);
  return proportional(rows, 16, checkpoint_bytes);
}

// ---- Configurations, vocabularies and labels ----

// Levels of a configuration's JSON: the whole, a block, a list. More would be read recursively.
constexpr int kConfigDepth = 3;

}  // namespace limits
}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_IO_LIMITS_H_
