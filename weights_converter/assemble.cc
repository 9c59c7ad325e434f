#include "weights_converter/assemble.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <type_traits>

#include "engine/io/limits.h"
#include "engine/runtime/error.h"
#include "engine/text/printable.h"
#include "weights_converter/checkpoint/mapped_file.h"
#include "weights_converter/fold_batchnorm.h"
#include "weights_converter/infer.h"
#include "weights_converter/inputs.h"
#include "weights_converter/key_values.h"
#include "weights_converter/names.h"
#include "weights_converter/random.h"
#include "weights_converter/sha256.h"
#include "weights_converter/text_files.h"

namespace lightcap::internal {
namespace {

constexpr std::array kRoles = {Role::kImageEncoder, Role::kDetector, Role::kBert, Role::kLightcap};

// Names from files can be of any length.
constexpr size_t kMostShown = 200;

[[noreturn]] void fail(const std::string& what) { throw Error(ErrorCode::kCheckpoint, what); }

// The part of the model that a tensor belongs to: "image_encoder".
std::string block_of(const std::string& name) { return name.substr(0, name.find('.')); }

const char* option_for(const std::string& block) {
  if (block == "image_encoder") return "--image-encoder";
  if (block == "detector") return "--detector";
  if (block == "bert") return "--bert";
  return "--lightcap";
}

// A dotted path in a checkpoint, as messages and records name it.
std::string place_in_file(const std::string& path) {
  return path.empty() ? "the top" : printable(path, kMostShown);
}

// To length 1; a row of zeros stays one, as in torch.nn.functional.normalize.
void normalize(std::span<float> row) {
  double sum = 0;
  for (const float value : row) sum += double{value} * value;
  const double length = std::max(std::sqrt(sum), 1e-12);
  for (float& value : row) value = static_cast<float>(value / length);
}

}  // namespace

Conversion::Conversion(const ConversionOptions& options) : random_seed_(options.random_seed) {
  check_paths(options);
  if (!options.config.empty()) parse_config(read_text(options.config), options.config, config_);
  open_sources(options);
  read_texts(options);
  Shapes shapes;
  for (const auto& [name, found] : found_) shapes[name] = found.tensor->shape;
  infer_sizes(shapes, config_);
  const std::string wrong = contradiction(config_);
  if (!wrong.empty()) {
    fail((options.config.empty() ? "the model's sizes contradict its settings (see --config): "
                                 : printable(options.config) + ": ") +
         wrong);
  }
  specs_ = schema(config_);
  check_tensors();
  check_texts(options);
  note_copies();
  note_unused();
  make_plan(options);
  check_size();
}

void Conversion::check_paths(const ConversionOptions& options) const {
  std::vector<std::string> inputs = {options.vocabulary, options.labels, options.config,
                                     options.card};
  for (const std::string& path : options.checkpoints) {
    inputs.push_back(split_checkpoint_path(path).file);
  }
  refuse_overwriting(options.output, inputs);
}

void Conversion::open_sources(const ConversionOptions& options) {
  sources_.reserve(kRoles.size());  // found_ points into it
  std::set<Role> given;
  for (const Role role : kRoles) {
    if (!options.checkpoints[static_cast<size_t>(role)].empty()) given.insert(role);
  }
  for (const Role role : given) {
    auto [file, inside] = split_checkpoint_path(options.checkpoints[static_cast<size_t>(role)]);
    sources_.push_back({role, open_checkpoint(file), {}, std::move(inside)});
    Source& source = sources_.back();
    refuse_overwriting(options.output, source.checkpoint);
    source.state_dict = find_state_dict(source.checkpoint, {role, source.inside, given});
    for (const auto& [name, tensor] : source.state_dict.tensors) found_[name] = {&source, tensor};
    const std::vector<double>& strides = source.state_dict.strides;
    if (!strides.empty() && strides != std::vector<double>{8, 16, 32}) {
      fail(printable(file) + ": the detector's strides are not 8, 16 and 32");
    }
  }
  check_stand_ins();
  if (sources_.empty() && !random_seed_) {
    throw Error(ErrorCode::kUsage,
                "no checkpoint is given: pass --image-encoder, --detector, --bert, --lightcap, or "
                "--random SEED for random weights; see --help");
  }
}

// Tensors that a file holds in another form would be missing, or worse, made up.
void Conversion::check_stand_ins() const {
  std::set<const CheckpointTensor*> stand_ins;
  for (const Source& source : sources_) {
    for (const CheckpointTensor& tensor : source.state_dict.stand_ins) stand_ins.insert(&tensor);
  }
  std::string wrong;
  size_t count = 0;
  constexpr size_t kShown = 5;
  for (const auto& [name, found] : found_) {
    if (stand_ins.count(found.tensor) == 0 || ++count > kShown) continue;
    wrong += "\n  " + name + " in " + printable(found.source->checkpoint.path) + " (" +
             printable(found.tensor->name, kMostShown) + ") is " + found.tensor->refusal;
  }
  if (count > kShown) wrong += "\n  and " + std::to_string(count - kShown) + " more";
  if (count > 0) fail("tensors that cannot be converted as they are:" + wrong);
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
  if (!options.card.empty()) card_ = parse_card(read_text(options.card), options.card);
}

void Conversion::check_texts(const ConversionOptions& options) {
  const uint64_t tokens = config_.fusion.vocabulary;
  const uint64_t concepts = config_.concept_extractor.vocabulary;
  if (options.vocabulary.empty()) vocabulary_ = placeholder_vocabulary(tokens);
  if (options.labels.empty()) labels_ = placeholder_labels(concepts);
  if (vocabulary_.size() != tokens) {
    fail(printable(options.vocabulary) + ": " + std::to_string(vocabulary_.size()) +
         " tokens, the word embedding has " + std::to_string(tokens) + " rows");
  }
  // The engine refuses files with longer texts.
  const auto check_lengths = [](const std::vector<std::string>& texts, const std::string& path,
                                uint64_t longest) {
    for (size_t i = 0; i < texts.size(); ++i) {
      if (texts[i].size() <= longest) continue;
      fail(path + ": entry " + std::to_string(i + 1) + " has " + std::to_string(texts[i].size()) +
           " bytes, the limit is " + std::to_string(longest));
    }
  };
  check_lengths(vocabulary_, options.vocabulary, limits::kTokenBytes);
  check_lengths(labels_, options.labels, limits::kLabelBytes);
  if (labels_.size() != concepts) {
    fail(printable(options.labels) + ": " + std::to_string(labels_.size()) +
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
          "\n  " + tensor.name + " in " + printable(found->second.source->checkpoint.path);
      if (!there.refusal.empty()) {
        wrong += where + " is " + there.refusal;
      } else if (there.shape != tensor.shape) {
        wrong += where + " is " + dims_text(there.shape) + ", expected " + dims_text(tensor.shape);
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
      message += missing_block(block, count);
    }
    for (const Wanted& tensor : missing) {
      const std::string block = block_of(tensor.name);
      if (block_missing[block] < block_sizes[block]) {
        message += "\n  " + tensor.name + " " + dims_text(tensor.shape) + nearest(tensor);
      }
    }
  }
  if (!message.empty()) fail(message);
}

// A line for a part of the model that no file has.
std::string Conversion::missing_block(const std::string& block, size_t count) const {
  std::string line = "\n  " + block + ".*: all " + std::to_string(count) + "; ";
  const std::string option = option_for(block);
  for (const Source& source : sources_) {
    if (option != role_option(source.role)) continue;
    return line + printable(source.checkpoint.path) +
           " has none of them; add them to it, or "
           "--random SEED to make them up";
  }
  return line + "give " + option + " FILE, or --random SEED to make them up";
}

// ", the nearest is NAME [SHAPE] in FILE", or nothing where no name is alike. Tensors that have a
// place of their own in the model are not looked at, nor are those of another module.
std::string Conversion::nearest(const Wanted& tensor) const {
  const CheckpointTensor* best = nullptr;
  const Source* best_source = nullptr;
  size_t best_cost = SIZE_MAX;
  constexpr size_t kLooked = 5000;  // keeps the search short in a file of a million tensors
  for (const Source& source : sources_) {
    std::set<const CheckpointTensor*> taken;
    for (const auto& [name, used] : source.state_dict.tensors) {
      if (placed_.count(name) != 0) taken.insert(used);
    }
    size_t looked = 0;
    for (const CheckpointTensor& candidate : source.checkpoint.tensors) {
      if (++looked > kLooked) break;
      if (taken.count(&candidate) != 0) continue;
      // The wrapping before the name differs from file to file: compare the ends.
      std::string_view end = candidate.name;
      const auto parts = std::count(tensor.name.begin(), tensor.name.end(), '.') + 1;
      for (auto more = std::count(end.begin(), end.end(), '.') + 1; more > parts; --more) {
        end.remove_prefix(end.find('.') + 1);
      }
      const std::optional<size_t> difference = spelling_difference(end, tensor.name);
      if (!difference) continue;
      const size_t cost = 2 * *difference + (candidate.shape == tensor.shape ? 0 : 1);
      if (cost >= best_cost) continue;
      best_cost = cost;
      best = &candidate;
      best_source = &source;
    }
  }
  if (best == nullptr) return "";
  return ", the nearest is " + printable(best->name, kMostShown) + " " + dims_text(best->shape) +
         " in " + printable(best_source->checkpoint.path);
}

// Says which of a file's copies of a part was taken, unless the user chose it.
void Conversion::note_copies() {
  for (const Source& source : sources_) {
    const StateDict& found = source.state_dict;
    if (found.others.empty()) continue;
    const std::string file = printable(source.checkpoint.path);
    std::string note = file + " holds several copies: the weights at ";
    note += place_in_file(found.found_at) + " were taken, not those at " +
            place_in_file(found.others[0]) + "; to choose: ";
    note += role_option(source.role);
    note +=
        " " + file + ":" + (found.others[0].empty() ? "." : printable(found.others[0], kMostShown));
    notes_.push_back(std::move(note));
  }
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
      if (++count > kShown) continue;
      names += (names.empty() ? "" : ", ") + printable(tensor->name, kMostShown);
    }
    if (count == 0) continue;
    notes_.push_back(printable(source.checkpoint.path) + ": " + std::to_string(count) +
                     " tensors have no place in the model and were left out: " + names +
                     (count > kShown ? " ..." : ""));
  }
}

void Conversion::make_plan(const ConversionOptions& options) {
  plan_.key_values = config_key_values(config_);
  plan_.key_values.push_back({"vocabulary", vocabulary_});
  plan_.key_values.push_back({"labels", labels_});
  plan_.key_values.push_back({"producer", std::string("lightcap-convert ") + LIGHTCAP_VERSION});
  plan_.key_values.push_back({"sources", source_records()});
  plan_.key_values.push_back({"licenses", options.licenses});
  if (!card_.empty()) plan_.key_values.push_back({"card", card_});
  for (const TensorSpec& spec : specs_) {
    const DataType type = spec.layout == Layout::kPanels ? options.type : DataType::kF32;
    plan_.tensors.push_back({spec.name, type, spec.layout, spec.shape});
  }
}

// A line for each file, with the hash of the very bytes that the weights are made of.
std::vector<std::string> Conversion::source_records() const {
  std::vector<const MappedFile*> files;
  for (const Source& source : sources_) {
    for (const auto& file : source.checkpoint.owners) files.push_back(file.get());
  }
  const std::vector<std::string> hashes = sha256_of_files(files);
  std::vector<std::string> records;
  for (const Source& source : sources_) {
    const std::string role = std::string(role_option(source.role)).substr(2);
    const StateDict& found = source.state_dict;
    const bool chosen = !found.others.empty() || !source.inside.empty();
    for (const auto& file : source.checkpoint.owners) {
      const std::string name = std::filesystem::path(file->path()).filename().string();
      records.push_back(role + ": " + printable(name) + ", sha256 " + hashes[records.size()]);
      if (chosen && file == source.checkpoint.owners.front()) {
        records.back() += ", weights at " + place_in_file(found.found_at);
      }
    }
  }
  if (random_seed_) records.push_back("random: seed " + std::to_string(*random_seed_));
  return records;
}

void Conversion::check_size() const {
  uint64_t checkpoint_bytes = 0;
  for (const Source& source : sources_) checkpoint_bytes += source.checkpoint.file_bytes;
  const uint64_t limit =
      limits::model_bytes(checkpoint_bytes, random_seed_ ? vocabulary_.size() + labels_.size() : 0);
  const uint64_t planned = plan_.tensor_bytes();
  if (planned <= limit) return;
  fail("the model would take " + std::to_string(planned) + " bytes, more than " +
       std::to_string(limit) + ", the limit for checkpoints of " +
       std::to_string(checkpoint_bytes) +
       " bytes: their tensors repeat the same values over and over");
}

void Conversion::read(const std::string& name, const RandomInit& random,
                      std::span<float> out) const {
  const auto found = found_.find(name);
  if (found == found_.end()) {
    fill_random(*random_seed_, name, random, out);
    return;
  }
  const Checkpoint& checkpoint = found->second.source->checkpoint;
  checkpoint.read_as_f32(*found->second.tensor, out);
  constexpr size_t kLarge = size_t{1} << 18;
  if (out.size() > kLarge) checkpoint.release_pages();
  const auto bad =
      std::find_if(out.begin(), out.end(), [](float value) { return !std::isfinite(value); });
  if (bad != out.end()) {
    fail(printable(checkpoint.path) + ": " + printable(found->second.tensor->name, kMostShown) +
         " holds " + (std::isnan(*bad) ? "NaN" : "infinity") + " at element " +
         std::to_string(bad - out.begin()));
  }
}

ScaleAndShift Conversion::folded(const TensorSpec& spec) const {
  const std::string& name = spec.batch_norm;
  // At random it is the identity.
  const auto values = [&](const char* part, double at_random) {
    std::vector<float> result(spec.shape[0]);
    read(name + part, {.mean = at_random, .deviation = 0}, result);
    return result;
  };
  BatchNorm batch_norm = {.weight = values(".weight", 1),
                          .bias = values(".bias", 0),
                          .running_mean = values(".running_mean", 0),
                          .running_var = values(".running_var", 1),
                          .eps = spec.batch_norm_eps};
  const auto found = found_.find(name + ".running_var");
  if (found == found_.end()) return fold(batch_norm, name);
  const Source& source = *found->second.source;
  const auto eps = source.state_dict.batch_norm_eps.find(name);
  if (eps != source.state_dict.batch_norm_eps.end()) batch_norm.eps = eps->second;
  return fold(batch_norm, name + " of " + printable(source.checkpoint.path));
}

void Conversion::fill(size_t index, std::span<float> out) const {
  make(index, out);
  for (const Source& source : sources_) source.checkpoint.check_unchanged();
}

void Conversion::make(size_t index, std::span<float> out) const {
  const TensorSpec& spec = specs_[index];
  if (spec.kind == TensorKind::kConvBias && !is_fused(spec)) {
    const ScaleAndShift batch_norm = folded(spec);
    std::transform(batch_norm.shift.begin(), batch_norm.shift.end(), out.begin(),
                   [](double shift) { return static_cast<float>(shift); });
    return;
  }
  read(spec.name, spec.random, out);
  if (spec.kind == TensorKind::kConv && !is_fused(spec)) scale_outputs(folded(spec).scale, out);
  if (spec.kind == TensorKind::kUnitRows) {
    const size_t width = spec.shape[1];
    for (size_t row = 0; row < spec.shape[0]; ++row) normalize(out.subspan(row * width, width));
  }
}

}  // namespace lightcap::internal
