// safetensors: a u64, a JSON header of that size, and the tensors' bytes.
#include <algorithm>
#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/io/limits.h"
#include "engine/text/printable.h"
#include "weights_converter/checkpoint/byte_reader.h"
#include "weights_converter/checkpoint/readers.h"

namespace lightcap::internal {
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;  // the format's own limit

// Bytes of memory for a tensor while the header is read: its parts, and a name in a set.
constexpr uint64_t kEntryCost = 400;

std::optional<ElementType> element_type(std::string_view name) {
  constexpr std::pair<std::string_view, ElementType> kTypes[] = {
      {"F64", ElementType::kF64},   {"F32", ElementType::kF32}, {"F16", ElementType::kF16},
      {"BF16", ElementType::kBf16}, {"I64", ElementType::kI64}, {"I32", ElementType::kI32},
      {"I16", ElementType::kI16},   {"I8", ElementType::kI8},   {"U64", ElementType::kU64},
      {"U32", ElementType::kU32},   {"U16", ElementType::kU16}, {"U8", ElementType::kU8},
      {"BOOL", ElementType::kBool},
  };
  for (const auto& [candidate, type] : kTypes) {
    if (candidate == name) return type;
  }
  return std::nullopt;
}

struct Entry {
  std::string name;
  std::string dtype;
  std::vector<uint64_t> shape, offsets;
  bool has_dtype = false, has_shape = false, has_offsets = false;
};

[[noreturn]] void fail_header(const std::string& what) {
  fail_checkpoint("the safetensors header is damaged: " + what);
}

// Receives the header's JSON piece by piece. The format allows three levels and no more, so a stack
// of its own is not needed, nor a tree in memory.
class HeaderHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderHandler(Budget& budget) : budget_(budget) {}

  std::deque<Entry> entries;  // names stay where they are
  bool has_metadata() const { return has_metadata_; }

  bool null() override { fail_value("null"); }
  bool boolean(bool) override { fail_value("a boolean"); }
  bool number_integer(number_integer_t) override { fail_value("a negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    fail_value("a fraction, or a number beyond 64 bits");
  }
  bool binary(binary_t&) override { fail_value("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (list_ == nullptr) fail_value("a number");
    if (list_->size() >= limits::kMaxTensorDims)
      fail_header("a list in " + where() + " is too long");
    budget_.charge(2 * sizeof value);
    list_->push_back(value);
    return true;
  }
  bool string(string_t& value) override {
    if (level_ != 2 || list_ != nullptr) fail_value("a text");
    if (metadata_) return true;
    if (key_ != "dtype") fail_value("a text");
    budget_.charge(value.size());
    entries.back().dtype = value;
    entries.back().has_dtype = true;
    return true;
  }
  bool start_object(size_t) override {
    if (level_ >= 2 || list_ != nullptr) fail_value("an object");
    ++level_;
    return true;
  }
  bool end_object() override {
    if (level_ == 2 && !metadata_) check_complete(entries.back());
    --level_;
    return true;
  }
  bool key(string_t& value) override {
    if (level_ == 1) {
      start_entry(value);
    } else if (!metadata_) {
      const Entry& entry = entries.back();
      if ((value == "dtype" && entry.has_dtype) || (value == "shape" && entry.has_shape) ||
          (value == "data_offsets" && entry.has_offsets)) {
        fail_header(where() + " has '" + value + "' twice");
      }
    }
    key_ = value;
    return true;
  }
  bool start_array(size_t) override {
    if (level_ != 2 || metadata_ || list_ != nullptr) fail_value("a list");
    Entry& entry = entries.back();
    if (key_ == "shape") {
      list_ = &entry.shape;
      entry.has_shape = true;
    } else if (key_ == "data_offsets") {
      list_ = &entry.offsets;
      entry.has_offsets = true;
    } else {
      fail_value("a list");
    }
    return true;
  }
  bool end_array() override {
    list_ = nullptr;
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    fail_header("it is no JSON at byte " + std::to_string(position));
  }

 private:
  void start_entry(const std::string& name) {
    metadata_ = name == "__metadata__";
    const bool twice = metadata_ ? has_metadata_ : names_.count(name) != 0;
    if (twice) fail_header("the name '" + excerpt(name) + "' is twice");
    if (metadata_) {
      has_metadata_ = true;
      return;
    }
    budget_.charge(kEntryCost + 2 * name.size());
    entries.emplace_back();
    entries.back().name = name;
    names_.insert(entries.back().name);
  }
  std::string where() const {
    if (level_ != 2) return "the top level";
    if (metadata_) return "__metadata__";
    return excerpt(entries.back().name);
  }
  [[noreturn]] void fail_value(const std::string& what) const {
    fail_header("unexpected " + what + " for '" + excerpt(key_) + "' in " + where());
  }
  static void check_complete(const Entry& entry) {
    if (!entry.has_dtype || !entry.has_shape || entry.offsets.size() != 2) {
      fail_header("'" + excerpt(entry.name) + "' lacks a dtype, a shape or two data_offsets");
    }
  }

  Budget& budget_;
  std::set<std::string_view> names_;
  std::string key_;
  int level_ = 0;
  bool metadata_ = false, has_metadata_ = false;
  std::vector<uint64_t>* list_ = nullptr;
};

// Bytes of a tensor, or nullopt where that overflows.
std::optional<uint64_t> bytes_of(const Entry& entry, size_t element) {
  if (std::find(entry.shape.begin(), entry.shape.end(), 0u) != entry.shape.end()) return 0;
  uint64_t bytes = element;
  for (const uint64_t size : entry.shape) {
    if (size > UINT64_MAX / bytes) return std::nullopt;
    bytes *= size;
  }
  return bytes;
}

CheckpointTensor make_tensor(const Entry& entry) {
  CheckpointTensor tensor;
  tensor.name = entry.name;
  const auto type = element_type(entry.dtype);
  if (!type) {
    tensor.refusal = "of type " + excerpt(entry.dtype);
    return tensor;
  }
  const auto bytes = bytes_of(entry, element_bytes(*type));
  if (!bytes || *bytes != entry.offsets[1] - entry.offsets[0]) {
    fail_checkpoint("tensor '" + excerpt(entry.name) + "': its shape " + dims_text(entry.shape) +
                    " of " + element_type_info(*type).name + " does not fill its " +
                    std::to_string(entry.offsets[1] - entry.offsets[0]) + " bytes");
  }
  tensor.type = *type;
  tensor.shape = entry.shape;
  tensor.strides.resize(entry.shape.size());
  uint64_t stride = 1;
  for (size_t i = entry.shape.size(); i-- > 0;) {
    tensor.strides[i] = stride;
    stride *= std::max<uint64_t>(entry.shape[i], 1);
  }
  tensor.offset = entry.offsets[0];
  return tensor;
}

// Receives the header a second time, which is sound, up to the end of its metadata: `save_model`
// keeps there, a text each, under which name it stored a tensor that a module has under two. A text
// of metadata can be anything else, so what names no tensor is passed over.
class AliasHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  AliasHandler(size_t header_bytes, Checkpoint& checkpoint)
      : checkpoint_(checkpoint),
        budget_(ErrorCode::kCheckpoint, "bytes of tensors' second names",
                limits::aliases(header_bytes)) {
    for (size_t i = 0; i < checkpoint.tensors.size(); ++i) {
      known_.emplace(checkpoint.tensors[i].name, i);
    }
  }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(size_t) override {
    ++level_;
    return true;
  }
  // False ends the reading.
  bool end_object() override { return !(--level_ == 1 && metadata_); }
  bool start_array(size_t) override { return true; }
  bool end_array() override { return true; }
  bool key(string_t& value) override {
    if (level_ == 1) metadata_ = value == "__metadata__";
    key_ = value;
    return true;
  }
  bool string(string_t& value) override {
    if (level_ == 2 && metadata_) add(key_, value);
    return true;
  }
  bool parse_error(size_t, const std::string&, const nlohmann::json::exception&) override {
    return false;
  }

 private:
  void add(const std::string& alias, const std::string& name) {
    const auto found = known_.find(name);
    if (found == known_.end() || known_.count(alias) != 0) return;
    CheckpointTensor tensor = checkpoint_.tensors[found->second];
    budget_.charge(2 * (sizeof tensor + alias.size()) + tensor.refusal.size() +
                   2 * sizeof(uint64_t) * tensor.shape.size());
    tensor.name = alias;
    known_.emplace(alias, checkpoint_.tensors.size());
    checkpoint_.tensors.push_back(std::move(tensor));
  }

  Checkpoint& checkpoint_;
  Budget budget_;
  std::map<std::string, size_t, std::less<>> known_;
  std::string key_;
  int level_ = 0;
  bool metadata_ = false;
};

// Tensors follow each other without gap or overlap and fill the file.
void check_offsets(const std::deque<Entry>& entries, uint64_t size) {
  std::vector<const Entry*> sorted;
  sorted.reserve(entries.size());
  for (const Entry& entry : entries) sorted.push_back(&entry);
  std::sort(sorted.begin(), sorted.end(),
            [](const Entry* a, const Entry* b) { return a->offsets < b->offsets; });
  uint64_t end = 0;
  for (const Entry* entry : sorted) {
    if (entry->offsets[0] != end || entry->offsets[1] < end) {
      fail_checkpoint("tensor '" + excerpt(entry->name) + "' lies at bytes " +
                      std::to_string(entry->offsets[0]) + " to " +
                      std::to_string(entry->offsets[1]) + ", expected it to begin at " +
                      std::to_string(end) + ": a gap or an overlap");
    }
    end = entry->offsets[1];
  }
  if (end != size) {
    fail_checkpoint("the tensors end at byte " + std::to_string(end) +
                    " of the data, the file at " + std::to_string(size) +
                    (end > size ? ": truncated, get it again" : ""));
  }
}

}  // namespace

bool is_safetensors(std::span<const uint8_t> file) {
  if (file.size() < 10 || file[8] != '{') return false;
  // A length beyond the file may be a truncated file: say so then, unless it is beyond belief.
  return ByteReader(file, "the file").u64("a length") <= kMaxHeader;
}

void read_safetensors(std::span<const uint8_t> file, Budget& budget, Checkpoint& checkpoint) {
  checkpoint.format = "safetensors";
  ByteReader reader(file, "the safetensors file");
  const uint64_t header_size = reader.u64("the header's length");
  const std::string_view header = reader.text(header_size, "the header");
  HeaderHandler handler(budget);
  nlohmann::json::sax_parse(header.begin(), header.end(), &handler);

  const auto data = file.subspan(reader.position());
  check_offsets(handler.entries, data.size());
  checkpoint.storages.emplace_back(data);
  checkpoint.tensors.reserve(handler.entries.size());
  for (const Entry& entry : handler.entries) checkpoint.tensors.push_back(make_tensor(entry));
  if (!handler.has_metadata()) return;
  AliasHandler aliases(header.size(), checkpoint);
  nlohmann::json::sax_parse(header.begin(), header.end(), &aliases);
}

}  // namespace lightcap::internal
