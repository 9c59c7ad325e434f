// Puts a model together from several checkpoints.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_ASSEMBLE_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_ASSEMBLE_H_

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "models/config.h"
#include "models/schema.h"
#include "weights_converter/checkpoint/checkpoint.h"
#include "weights_converter/state_dict.h"
#include "weights_converter/weights_writer.h"

namespace lightcap::internal {

struct ConversionOptions {
  // Paths by Role, empty where none is given; "FILE:PATH" takes what is at that path in the file.
  std::array<std::string, 4> checkpoints;
  std::string vocabulary, labels, config;  // paths, likewise
  DataType type = DataType::kF32;          // of the matrices; vectors stay fp32
  std::optional<uint64_t> random_seed;
  std::vector<std::string> licenses;
  std::string card;    // path of the model card, or empty
  std::string output;  // where the model will be written, or empty: must be none of the inputs
};

// A model that is complete and consistent; its values are read from the checkpoints when wanted.
class Conversion {
 public:
  // Throws Error(kCheckpoint) that lists all missing tensors, with the shapes expected and what was
  // found nearest, and all of a wrong shape; Error(kUsage) where a file must be given and is not,
  // and where the output is one of the files that are read.
  explicit Conversion(const ConversionOptions& options);
  Conversion(const Conversion&) = delete;
  Conversion& operator=(const Conversion&) = delete;

  const Config& config() const { return config_; }
  const WeightsPlan& plan() const { return plan_; }
  // The values of the plan's tensor `index`, row-major: BatchNorm folded, rows of unit length where
  // the schema wants that. Throws Error(kCheckpoint) for values that cannot be read or are not
  // finite, and where a checkpoint was changed since it was opened. Safe to call from several
  // threads.
  void fill(size_t index, std::span<float> out) const;

  // Notices for the user that are no errors: tensors that the model has no use for, weights made
  // up.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  struct Source {
    Role role;
    Checkpoint checkpoint;
    StateDict state_dict;
    std::string inside;  // which of its copies the user chose
  };
  struct Found {
    const Source* source;
    const CheckpointTensor* tensor;
  };
  // A checkpoint's tensor that the model is made of.
  struct Wanted {
    std::string name;
    std::vector<uint64_t> shape;
  };

  void check_paths(const ConversionOptions& options) const;
  void open_sources(const ConversionOptions& options);
  void check_stand_ins() const;
  void read_texts(const ConversionOptions& options);
  void check_texts(const ConversionOptions& options);
  // The checkpoints' tensors behind a tensor of the schema.
  std::vector<Wanted> wanted(const TensorSpec& spec) const;
  bool is_fused(const TensorSpec& spec) const;
  void check_tensors();
  std::string nearest(const Wanted& tensor) const;
  std::string missing_block(const std::string& block, size_t count) const;
  void note_copies();
  void note_random(size_t count, size_t total);
  void note_unused();
  void make_plan(const ConversionOptions& options);
  std::vector<std::string> source_records() const;
  void check_size() const;

  void make(size_t index, std::span<float> out) const;
  void read(const std::string& name, const RandomInit& random, std::span<float> out) const;
  struct ScaleAndShift folded(const TensorSpec& spec) const;

  std::optional<uint64_t> random_seed_;
  Config config_;
  std::vector<Source> sources_;
  std::map<std::string, Found> found_;
  std::set<std::string> placed_;  // of those, the ones that the model is made of
  std::vector<TensorSpec> specs_;
  std::vector<std::string> vocabulary_, labels_;
  std::string card_;
  WeightsPlan plan_;
  std::vector<std::string> notes_;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_ASSEMBLE_H_
