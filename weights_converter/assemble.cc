#include "weights_converter/assemble.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <future>
#include <type_traits>

#include "engine/runtime/error.h"
#include "weights_converter/fold_batchnorm.h"
#include "weights_converter/infer.h"
#include "weights_converter/names.h"
#include "weights_converter/random.h"
#include "weights_converter/sha256.h"
#include "weights_converter/text_files.h"

namespace lightcap {
namespace {

constexpr std::array kRoles = {Role::kImageEncoder, Role::kDetector, Role::kBert, Role::kLightcap};

[[noreturn]] void fail(const std::string& what) { throw Error(ErrorCode::kCheckpoint, what); }

// The part of the model that a tensor belongs to: "image_encoder".
std::string block_of(const std::string& name) { return name.substr(0, name.find('.')); }

const char* option_for(const std::string& block) {
  if (block == "image_encoder") return "--image-encoder";
  if (block == "detector") return "--detector";
  if (block == "bert") return "--bert";
  return "--lightcap";
}

// Writes Config as models/config.cc reads it.
class KeyValueMaker {
 public:
  std::vector<PlannedKeyValue> made;

  void operator()(const char* key, uint64_t number, uint64_t, uint64_t) {
    made.push_back({key, number});
  }
  void operator()(const char* key, double number, double, double) { made.push_back({key, number}); }
  void operator()(const char* key, bool flag) { made.push_back({key, uint64_t{flag}}); }
  template <class Enum, size_t n>
  requires std::is_enum_v<Enum>
  void operator()(const char* key, Enum choice, const std::array<const char*, n>& names) {
    made.push_back({key, std::string(names[static_cast<size_t>(choice)])});
  }
  template <class Number, size_t n>
  void operator()(const char* key, const std::array<Number, n>& numbers, Number, Number) {
    std::vector<double> stored;
    for (const Number number : numbers) stored.push_back(static_cast<double>(number));
    made.push_back({key, std::move(stored)});
  }
};

// To length 1; a row of zeros stays one, as in torch.nn.functional.normalize.
void normalize(std::span<float> row) {
  double sum = 0;
  for (const float value : row) sum += double{value} * value;
  const double length = std::max(std::sqrt(sum), 1e-12);
  for (float& value : row) value = static_cast<float>(value / length);
}

}  // namespace

Conversion::Conversion(const ConversionOptions& options) : random_seed_(options.random_seed) {
  if (!options.config.empty()) parse_config(read_text(options.config), options.config, config_);
  open_sources(options);
  read_texts(options);
  Shapes shapes;
  for (const auto& [name, found] : found_) shapes[name] = found.tensor->shape;
  infer_sizes(shapes, config_);
  const std::string wrong = contradiction(config_);
  if (!wrong.empty()) {
    fail((options.config.empty() ? "the model's sizes contradict its settings (see --config): "
                                 : options.config + ": ") +
         wrong);
  }
  specs_ = schema(config_);
  check_tensors();
  check_texts(options);
  note_unused();
  make_plan(options);
}

void Conversion::open_sources(const ConversionOptions& options) {
  sources_.reserve(kRoles.size());  // found_ points into it
  for (const Role role : kRoles) {
    const std::string& path = options.checkpoints[static_cast<size_t>(role)];
    if (path.empty()) continue;
    sources_.push_back({role, open_checkpoint(path), {}});
    Source& source = sources_.back();
    source.state_dict = find_state_dict(source.checkpoint, role);
    for (const auto& [name, tensor] : source.state_dict.tensors) found_[name] = {&source, tensor};
    const std::vector<double>& strides = source.state_dict.strides;
    if (!strides.empty() && strides != std::vector<double>{8, 16, 32}) {
      fail(path + ": the detector's strides are not 8, 16 and 32");
    }
  }
  if (sources_.empty() && !random_seed_) {
    throw Error(ErrorCode::kUsage,
                "no checkpoint is given: pass --image-encoder, --detector, --bert, --lightcap, or "
                "--random SEED for random weights; see --help");
  }
}

void Conversion::read_texts(const ConversionOptions& options) {
  const auto require = [this](const std::string& path, const char* option, const char* what) {
    if (!path.empty() || random_seed_) return;
    throw Error(ErrorCode::kUsage,
                std::string(option) + " is missing: " + what + ", or --random SEED to make it up");
  };
  require(options.vocabulary, "--vocab", "the WordPiece vocabulary, a token a line");
  require(options.labels, "--concepts", "the concepts' labels, one a line");
  if (!options.vocabulary.empty()) {
    vocabulary_ = parse_vocabulary(read_text(options.vocabulary), options.vocabulary);
    config_.fusion.vocabulary = vocabulary_.size();  // where no tensor says otherwise
  }
  if (!options.labels.empty()) {
    labels_ = parse_labels(read_text(options.labels), options.labels);
    config_.concept_extractor.vocabulary = labels_.size();
  }
}

void Conversion::check_texts(const ConversionOptions& options) {
  const uint64_t tokens = config_.fusion.vocabulary;
  const uint64_t concepts = config_.concept_extractor.vocabulary;
  if (options.vocabulary.empty()) vocabulary_ = placeholder_vocabulary(tokens);
  if (options.labels.empty()) labels_ = placeholder_labels(concepts);
  if (vocabulary_.size() != tokens) {
    fail(options.vocabulary + ": " + std::to_string(vocabulary_.size()) +
         " tokens, the word embedding has " + std::to_string(tokens) + " rows");
  }
  if (labels_.size() != concepts) {
    fail(options.labels + ": " + std::to_string(labels_.size()) +
         " labels, concept_extractor.vocabulary has " + std::to_string(concepts) + " rows");
  }
}

// Some exports have BatchNorm folded already: then a bias stands where BatchNorm would.
bool Conversion::is_fused(const TensorSpec& spec) const {
  const std::string module = spec.name.substr(0, spec.name.rfind('.'));
  return found_.count(module + ".bias") != 0 && found_.count(spec.batch_norm + ".weight") == 0;
}

std::vector<Conversion::Wanted> Conversion::wanted(const TensorSpec& spec) const {
  if (spec.kind != TensorKind::kConvBias || is_fused(spec)) return {{spec.name, spec.shape}};
  std::vector<Wanted> result;
  for (const char* part : {".weight", ".bias", ".running_mean", ".running_var"}) {
    result.push_back({spec.batch_norm + part, spec.shape});
  }
  return result;
}

void Conversion::check_tensors() {
  std::map<std::string, size_t> block_sizes, block_missing;
  std::vector<Wanted> missing;
  std::string wrong;
  size_t total = 0;
  for (const TensorSpec& spec : specs_) {
    for (const Wanted& tensor : wanted(spec)) {
      const auto found = found_.find(tensor.name);
      ++total;
      ++block_sizes[block_of(tensor.name)];
      if (found == found_.end()) {
        missing.push_back(tensor);
        ++block_missing[block_of(tensor.name)];
        continue;
      }
      placed_.insert(tensor.name);
      const CheckpointTensor& there = *found->second.tensor;
      const std::string where =
          "\n  " + tensor.name + " in " + found->second.source->checkpoint.path;
      if (!there.refusal.empty()) {
        wrong += where + " is " + there.refusal;
      } else if (there.shape != tensor.shape) {
        wrong +=
            where + " is " + shape_text(there.shape) + ", expected " + shape_text(tensor.shape);
      }
    }
  }
  std::string message;
  if (!wrong.empty()) message = "tensors that do not fit the model:" + wrong;
  if (random_seed_) {
    note_random(missing.size(), total);
  } else if (!missing.empty()) {
    message += std::string(message.empty() ? "" : "\n") + "missing tensors:";
    for (const auto& [block, count] : block_missing) {
      if (count < block_sizes[block]) continue;
      message += "\n  " + block + ".*: all " + std::to_string(count) + "; give " +
                 option_for(block) + " FILE, or --random SEED to make them up";
    }
    for (const Wanted& tensor : missing) {
      const std::string block = block_of(tensor.name);
      if (block_missing[block] < block_sizes[block]) {
        message += "\n  " + tensor.name + " " + shape_text(tensor.shape) + nearest(tensor);
      }
    }
  }
  if (!message.empty()) fail(message);
}

// ", the nearest is NAME [SHAPE] in FILE", or nothing where no name is alike.
std::string Conversion::nearest(const Wanted& tensor) const {
  const CheckpointTensor* best = nullptr;
  const Source* best_source = nullptr;
  // Another part of the name costs two, another shape one, a tensor that has its own place two.
  size_t best_cost = 4;
  constexpr size_t kLooked = 5000;  // keeps the search short in a file of a million tensors
  for (const Source& source : sources_) {
    std::set<const CheckpointTensor*> taken;
    for (const auto& [name, used] : source.state_dict.tensors) {
      if (placed_.count(name) != 0) taken.insert(used);
    }
    size_t looked = 0;
    for (const CheckpointTensor& candidate : source.checkpoint.tensors) {
      if (++looked > kLooked) break;
      // The wrapping before the name differs from file to file: compare the ends.
      std::string_view end = candidate.name;
      const auto parts = std::count(tensor.name.begin(), tensor.name.end(), '.') + 1;
      for (auto more = std::count(end.begin(), end.end(), '.') + 1; more > parts; --more) {
        end.remove_prefix(end.find('.') + 1);
      }
      const size_t cost = 2 * dotted_distance(end, tensor.name) +
                          (candidate.shape == tensor.shape ? 0 : 1) +
                          (taken.count(&candidate) != 0 ? 2 : 0);
      if (cost > best_cost || (cost == best_cost && best != nullptr)) continue;
      best_cost = cost;
      best = &candidate;
      best_source = &source;
    }
  }
  if (best == nullptr) return "";
  return ", the nearest is " + best->name + " " + shape_text(best->shape) + " in " +
         best_source->checkpoint.path;
}

void Conversion::note_random(size_t count, size_t total) {
  if (count == 0) {
    notes_.push_back("--random made up no weights: the files name all of them");
  } else {
    notes_.push_back(std::to_string(count) + " of " + std::to_string(total) +
                     " tensors are random: no file names them");
  }
}

void Conversion::note_unused() {
  for (const Source& source : sources_) {
    std::string names;
    size_t count = 0;
    constexpr size_t kShown = 5;
    for (const auto& [name, tensor] : source.state_dict.tensors) {
      if (placed_.count(name) != 0) continue;
      if (++count <= kShown) names += (names.empty() ? "" : ", ") + tensor->name;
    }
    if (count == 0) continue;
    notes_.push_back(source.checkpoint.path + ": " + std::to_string(count) +
                     " tensors have no place in the model and were left out: " + names +
                     (count > kShown ? " ..." : ""));
  }
}

void Conversion::make_plan(const ConversionOptions& options) {
  KeyValueMaker maker;
  visit_hyper_parameters(config_, maker);
  visit_sizes(config_, maker);
  plan_.key_values = std::move(maker.made);
  // Hashing takes longer than all the rest.
  std::vector<std::future<std::string>> hashes;
  for (const Source& source : sources_) {
    hashes.push_back(std::async(std::launch::async, sha256_of_file, source.checkpoint.path));
  }
  std::vector<std::string> sources;
  for (const Source& source : sources_) {
    const std::string role = std::string(role_option(source.role)).substr(2);
    const std::string name = std::filesystem::path(source.checkpoint.path).filename().string();
    sources.push_back(role + ": " + name + ", sha256 " + hashes[sources.size()].get());
  }
  if (random_seed_) sources.push_back("random: seed " + std::to_string(*random_seed_));
  plan_.key_values.push_back({"vocabulary", vocabulary_});
  plan_.key_values.push_back({"labels", labels_});
  plan_.key_values.push_back({"producer", std::string("lightcap-convert ") + LIGHTCAP_VERSION});
  plan_.key_values.push_back({"sources", std::move(sources)});
  plan_.key_values.push_back({"licenses", options.licenses});
  for (const TensorSpec& spec : specs_) {
    const DataType type = spec.layout == Layout::kPanels ? options.type : DataType::kF32;
    plan_.tensors.push_back({spec.name, type, spec.layout, spec.shape});
  }
}

void Conversion::read(const std::string& name, const std::vector<uint64_t>& shape,
                      std::span<float> out) const {
  const auto found = found_.find(name);
  if (found == found_.end()) {
    fill_random(*random_seed_, name, shape, out);
    return;
  }
  const Checkpoint& checkpoint = found->second.source->checkpoint;
  checkpoint.read_as_f32(*found->second.tensor, out);
  constexpr size_t kLarge = size_t{1} << 18;
  if (out.size() > kLarge) checkpoint.release_pages();
  const auto bad =
      std::find_if(out.begin(), out.end(), [](float value) { return !std::isfinite(value); });
  if (bad != out.end()) {
    fail(checkpoint.path + ": " + found->second.tensor->name + " holds " +
         (std::isnan(*bad) ? "NaN" : "infinity") + " at element " +
         std::to_string(bad - out.begin()));
  }
}

std::vector<float> Conversion::values(const std::string& name, uint64_t size) const {
  std::vector<float> result(size);
  read(name, {size}, result);
  return result;
}

ScaleAndShift Conversion::folded(const TensorSpec& spec) const {
  const uint64_t channels = spec.shape[0];
  const std::string& name = spec.batch_norm;
  BatchNorm batch_norm = {.weight = values(name + ".weight", channels),
                          .bias = values(name + ".bias", channels),
                          .running_mean = values(name + ".running_mean", channels),
                          .running_var = values(name + ".running_var", channels),
                          .eps = spec.batch_norm_eps};
  const auto found = found_.find(name + ".running_var");
  if (found == found_.end()) return fold(batch_norm, name);
  const Source& source = *found->second.source;
  const auto eps = source.state_dict.batch_norm_eps.find(name);
  if (eps != source.state_dict.batch_norm_eps.end()) batch_norm.eps = eps->second;
  return fold(batch_norm, name + " of " + source.checkpoint.path);
}

void Conversion::fill(size_t index, std::span<float> out) const {
  const TensorSpec& spec = specs_[index];
  if (spec.kind == TensorKind::kConvBias && !is_fused(spec)) {
    const ScaleAndShift batch_norm = folded(spec);
    std::transform(batch_norm.shift.begin(), batch_norm.shift.end(), out.begin(),
                   [](double shift) { return static_cast<float>(shift); });
    return;
  }
  read(spec.name, spec.shape, out);
  if (spec.kind == TensorKind::kConv && !is_fused(spec)) scale_outputs(folded(spec).scale, out);
  if (spec.kind == TensorKind::kUnitRows) {
    const size_t width = spec.shape[1];
    for (size_t row = 0; row < spec.shape[0]; ++row) normalize(out.subspan(row * width, width));
  }
}

}  // namespace lightcap
