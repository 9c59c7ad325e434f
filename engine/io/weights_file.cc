#include "engine/io/weights_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numeric>
#include <span>

#include "engine/io/crc32.h"
#include "engine/io/file.h"
#include "engine/io/limits.h"
#include "engine/platform/platform.h"
#include "engine/runtime/block.h"
#include "engine/runtime/error.h"
#include "engine/text/printable.h"
#include "kernels/kernels.h"

namespace lightcap::internal {
namespace {

[[noreturn]] void fail(const std::string& source, const std::string& what) {
  throw Error(ErrorCode::kModel, source + ": " + what);
}

// Reads packed numbers and strings in order; past the end it throws.
class Cursor {
 public:
  Cursor(const uint8_t* begin, const uint8_t* end, const std::string& source)
      : next_(begin), end_(end), source_(source) {}

  template <class T>
  T number(const char* what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what), sizeof(T));
    return value;
  }
  std::string_view string(const char* what) {
    const auto length = number<uint32_t>(what);
    return {reinterpret_cast<const char*>(take(length, what)), length};
  }
  // A count of items that take `min_bytes` each: more than are left can't be, and are not allocated
  // for.
  size_t count(size_t min_bytes, const char* what) {
    const auto count = number<uint32_t>(what);
    if (count > left() / min_bytes) ends_in(what);
    return count;
  }
  size_t left() const { return static_cast<size_t>(end_ - next_); }
  [[noreturn]] void ends_in(const char* what) const {
    fail(source_, std::string("the metadata ends inside ") + what);
  }

 private:
  const uint8_t* take(size_t bytes, const char* what) {
    if (bytes > left()) ends_in(what);
    const uint8_t* begin = next_;
    next_ += bytes;
    return begin;
  }

  const uint8_t* next_;
  const uint8_t* end_;
  const std::string& source_;
};

Value read_value(Cursor& cursor, std::string_view key, const std::string& source) {
  const auto type = cursor.number<uint8_t>("a key's value");
  switch (static_cast<ValueType>(type)) {
    case ValueType::kUint:
      return cursor.number<uint64_t>("a number");
    case ValueType::kDouble:
      return cursor.number<double>("a number");
    case ValueType::kString:
      return cursor.string("a string");
    case ValueType::kStrings: {
      std::vector<std::string_view> strings(cursor.count(sizeof(uint32_t), "a list of strings"));
      for (auto& string : strings) string = cursor.string("a list of strings");
      return strings;
    }
    case ValueType::kDoubles: {
      std::vector<double> numbers(cursor.count(sizeof(double), "a list of numbers"));
      for (auto& number : numbers) number = cursor.number<double>("a list of numbers");
      return numbers;
    }
  }
  fail(source, "the key " + std::string(key) + " has the unknown type " + std::to_string(type));
}

// Checks a name before any message shows it. `what` is "key 7".
void check_name(std::string_view name, const std::string& what, const std::string& source) {
  if (name.size() > limits::kModelNameBytes) {
    fail(source, what + " has a name of " + std::to_string(name.size()) + " bytes, the limit is " +
                     std::to_string(limits::kModelNameBytes));
  }
  if (name.empty() ||
      !std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 127; })) {
    fail(source, "the name of " + what + " is empty or not printable ASCII");
  }
}

TensorEntry read_entry(Cursor& cursor, uint32_t index, const std::string& source) {
  TensorEntry entry;
  entry.name = cursor.string("a tensor's name");
  check_name(entry.name, "tensor " + std::to_string(index), source);
  const auto type = cursor.number<uint8_t>("the tensor directory");
  const auto layout = cursor.number<uint8_t>("the tensor directory");
  const auto ndim = cursor.number<uint8_t>("the tensor directory");
  const std::string where = "tensor " + std::string(entry.name);
  if (type < 1 || type > kLastDataType)
    fail(source, where + " has the unknown type " + std::to_string(type));
  if (layout < 1 || layout > kLastLayout)
    fail(source, where + " has the unknown layout " + std::to_string(layout));
  if (ndim < 1 || ndim > kMaxTensorDims) {
    fail(source, where + " has " + std::to_string(ndim) + " dimensions, expected 1 to 4");
  }
  entry.type = static_cast<DataType>(type);
  entry.layout = static_cast<Layout>(layout);
  if (!go_together(entry.type, entry.layout)) {
    fail(source, where + " is of type " + data_type_name(entry.type) + " in " +
                     layout_name(entry.layout) + ", which no reader knows");
  }
  entry.dims.resize(ndim);
  for (auto& dim : entry.dims) dim = cursor.number<uint64_t>("the tensor directory");
  entry.offset = cursor.number<uint64_t>("the tensor directory");
  entry.bytes = cursor.number<uint64_t>("the tensor directory");
  entry.crc32 = cursor.number<uint32_t>("the tensor directory");
  return entry;
}

void check_header(const WeightsHeader& header, size_t size, const std::string& source) {
  if (std::memcmp(header.magic, kWeightsMagic, sizeof kWeightsMagic) != 0) {
    fail(source,
         "not a LightCap model: a .lcw file begins with the letters LCW; convert a checkpoint with "
         "lightcap-convert");
  }
  if (header.version != kWeightsVersion) {
    fail(source, "the file has format version " + std::to_string(header.version) +
                     ", this engine reads version " + std::to_string(kWeightsVersion));
  }
  if (header.header_crc32 != crc32(&header, offsetof(WeightsHeader, header_crc32)) ||
      header.reserved != 0) {
    fail(source, "the header is damaged: its checksum does not match");
  }
  if ((header.required_features & ~kKnownFeatures) != 0) {
    fail(source, "the file needs features that this engine does not know (bits " +
                     std::to_string(header.required_features & ~kKnownFeatures) +
                     "): use a newer engine");
  }
  if (header.file_bytes != size) {
    fail(source, "the file has " + std::to_string(size) + " bytes, its header says " +
                     std::to_string(header.file_bytes) + ": a copy cut short or damaged");
  }
  if (header.metadata_bytes > size - sizeof header || header.data_offset > size ||
      header.data_offset % kWeightsAlignment != 0 ||
      header.data_offset < sizeof header + header.metadata_bytes) {
    fail(source, "the header contradicts itself: metadata and data do not fit into the file");
  }
}

}  // namespace

uint64_t tensor_bytes(DataType type, Layout layout, const std::vector<uint64_t>& dims) {
  constexpr uint64_t kMax = uint64_t{1} << 62;
  uint64_t outputs = 1, depth = 1;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] == 0 || dims[i] > kMax) return 0;
    if (i == 0) {
      outputs = dims[i];
    } else if (depth > kMax / dims[i]) {
      return 0;
    } else {
      depth *= dims[i];
    }
  }
  if (layout != Layout::kRowMajor) {
    outputs = panel_count(outputs) * kPanelWidth;
    depth = panel_depth(depth, type);
  }
  if (outputs > kMax / depth / data_type_bytes(type)) return 0;
  return outputs * depth * data_type_bytes(type);
}

WeightsFile::WeightsFile(std::shared_ptr<const void> owner, Bytes bytes, size_t owned_bytes,
                         std::string source)
    : owner_(std::move(owner)),
      bytes_(bytes),
      owned_bytes_(owned_bytes),
      source_(std::move(source)) {
  parse();
}

WeightsFile WeightsFile::open(const std::string& path, FileAccess access) {
  const RegularFile file(path, ErrorCode::kModel);
  const size_t size = file.size();
  if (access == FileAccess::kMap) {
    if (platform::Mapping mapping(file.file(), size); mapping) {
      // Pages that have to come from the disk then come as huge ones, where the file system has
      // such.
      mapping.ask_for_huge_pages();
      const Bytes bytes = {mapping.data(), size};
      return WeightsFile(std::make_shared<platform::Mapping>(std::move(mapping)), bytes, 0, path);
    }
    // Some file systems can't map: read instead.
  }
  std::shared_ptr<void> memory = allocate_block(size);
  auto* data = static_cast<uint8_t*>(memory.get());
  file.read(data, size);
  return WeightsFile(std::move(memory), {data, size}, size, path);
}

namespace {

// The part's size, once it is known to lie in the file.
size_t part_size(const platform::File& file, uint64_t offset, uint64_t size,
                 const std::string& source) {
  const auto status = file.status();
  if (!status) fail(source, std::string("cannot examine the file: ") + std::strerror(errno));
  if (status->kind != platform::FileKind::kRegular) fail(source, "not a regular file");
  if (offset > status->size || size > status->size - offset) {
    fail(source, "the file has " + std::to_string(status->size) + " bytes, asked for were " +
                     std::to_string(size) + " from byte " + std::to_string(offset) + " on");
  }
  return static_cast<size_t>(size == 0 ? status->size - offset : size);
}

void read_part(const platform::File& file, uint64_t offset, std::span<uint8_t> out,
               const std::string& source) {
  while (!out.empty()) {
    const ptrdiff_t got = file.read_at(offset, out);
    if (got < 0) fail(source, std::string("cannot read the file: ") + std::strerror(errno));
    if (got == 0) fail(source, "the file became shorter while it was read");
    offset += static_cast<uint64_t>(got);
    out = out.subspan(static_cast<size_t>(got));
  }
}

}  // namespace

WeightsFile WeightsFile::open_part(platform::Handle handle, uint64_t offset, uint64_t size,
                                   FileAccess access) {
  const std::string source = "descriptor " + std::to_string(handle);
  const platform::File file = platform::File::borrowed(handle);
  const size_t bytes = part_size(file, offset, size, source);
  if (access == FileAccess::kMap && offset % kWeightsAlignment == 0) {
    const auto before = static_cast<size_t>(offset % platform::page_size());
    if (platform::Mapping mapping(file, before + bytes, offset - before); mapping) {
      mapping.ask_for_huge_pages();
      const Bytes part = {mapping.data() + before, bytes};
      return WeightsFile(std::make_shared<platform::Mapping>(std::move(mapping)), part, 0, source);
    }
  }
  std::shared_ptr<void> memory = allocate_block(bytes);
  auto* data = static_cast<uint8_t*>(memory.get());
  read_part(file, offset, {data, bytes}, source);
  return WeightsFile(std::move(memory), {data, bytes}, bytes, source);
}

WeightsFile WeightsFile::from_buffer(Bytes bytes, const std::string& source) {
  if (reinterpret_cast<uintptr_t>(bytes.data) % kWeightsAlignment == 0) {
    return WeightsFile(nullptr, bytes, 0, source);
  }
  std::shared_ptr<void> memory = allocate_block(bytes.size);
  std::memcpy(memory.get(), bytes.data, bytes.size);
  const Bytes copy = {static_cast<const uint8_t*>(memory.get()), bytes.size};
  return WeightsFile(std::move(memory), copy, bytes.size, source);
}

// The whole pages within `bytes` of a mapped file from `data` on.
Bytes WeightsFile::pages_within(const void* data, size_t bytes) const {
  const bool mapped = owner_ != nullptr && owned_bytes_ == 0;
  if (!mapped) return {};
  const size_t page = platform::page_size();
  const auto* first = static_cast<const uint8_t*>(data);
  const auto address = reinterpret_cast<uintptr_t>(data);
  const uintptr_t begin = (address + page - 1) / page * page;
  const uintptr_t end = (address + bytes) / page * page;
  return begin < end ? Bytes{first + (begin - address), end - begin} : Bytes{};
}

size_t WeightsFile::releasable_bytes(const void* data, size_t bytes) const {
  return pages_within(data, bytes).size;
}

void WeightsFile::release(const void* data, size_t bytes) const {
  const Bytes pages = pages_within(data, bytes);
  if (pages.size > 0) platform::give_back(pages.data, pages.size);
}

void WeightsFile::parse() {
  if (bytes_.size < sizeof(WeightsHeader)) {
    fail(source_, "the model has " + std::to_string(bytes_.size) +
                      " bytes, a .lcw model at least " + std::to_string(sizeof(WeightsHeader)));
  }
  WeightsHeader header;
  std::memcpy(&header, bytes_.data, sizeof header);
  check_header(header, bytes_.size, source_);
  const uint8_t* metadata = bytes_.data + sizeof header;
  if (crc32(metadata, header.metadata_bytes) != header.metadata_crc32) {
    fail(source_, "the metadata is damaged: its checksum does not match");
  }
  if (header.key_value_count > limits::kModelKeys) {
    fail(source_, "the model has " + std::to_string(header.key_value_count) +
                      " keys, the limit is " + std::to_string(limits::kModelKeys));
  }
  Cursor cursor(metadata, metadata + header.metadata_bytes, source_);
  for (uint32_t i = 0; i < header.key_value_count; ++i) {
    const std::string_view key = cursor.string("a key");
    check_name(key, "key " + std::to_string(i), source_);
    key_values_.push_back({key, read_value(cursor, key, source_)});
  }
  for (uint32_t i = 0; i < header.tensor_count; ++i) {
    tensors_.push_back(read_entry(cursor, i, source_));
  }
  if (cursor.left() != 0) {
    fail(source_,
         std::to_string(cursor.left()) + " bytes of metadata are left after the directory");
  }
  check_extents(header);
  index();
}

// Tensors must follow each other: then none overlaps another, and what a file can make us touch is
// no more than its size.
void WeightsFile::check_extents(const WeightsHeader& header) const {
  uint64_t free_from = header.data_offset;
  for (const TensorEntry& tensor : tensors_) {
    const std::string where = "tensor " + std::string(tensor.name) + " " + dims_text(tensor.dims);
    const uint64_t expected = tensor_bytes(tensor.type, tensor.layout, tensor.dims);
    if (expected == 0) fail(source_, where + " has a dimension of 0 or too many elements");
    if (tensor.bytes != expected) {
      fail(source_, where + " has " + std::to_string(tensor.bytes) + " bytes, expected " +
                        std::to_string(expected));
    }
    if (tensor.offset % kWeightsAlignment != 0) {
      fail(source_,
           where + " begins at " + std::to_string(tensor.offset) + ", not a multiple of 64");
    }
    if (tensor.offset < free_from || tensor.offset > bytes_.size ||
        tensor.bytes > bytes_.size - tensor.offset) {
      fail(source_, where + " at " + std::to_string(tensor.offset) +
                        " overlaps what stands before it or the file's end");
    }
    free_from = tensor.offset + tensor.bytes;
  }
}

namespace {

// Positions 0..count-1 in the order of their names, which must all differ.
template <class NameOf>
std::vector<uint32_t> sorted_by_name(size_t count, NameOf name_of, const char* what,
                                     const std::string& source) {
  std::vector<uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return name_of(a) < name_of(b); });
  for (size_t i = 1; i < count; ++i) {
    if (name_of(order[i - 1]) == name_of(order[i])) {
      fail(source,
           std::string("the ") + what + " " + std::string(name_of(order[i])) + " stands twice");
    }
  }
  return order;
}

// The position of `name` in what sorted_by_name() made, or `order.size()`.
template <class NameOf>
size_t position_of(std::string_view name, const std::vector<uint32_t>& order, NameOf name_of) {
  const auto at = std::lower_bound(order.begin(), order.end(), name,
                                   [&](uint32_t a, std::string_view b) { return name_of(a) < b; });
  return at != order.end() && name_of(*at) == name ? *at : order.size();
}

}  // namespace

void WeightsFile::index() {
  keys_by_name_ = sorted_by_name(
      key_values_.size(), [this](size_t i) { return key_values_[i].key; }, "key", source_);
  tensors_by_name_ = sorted_by_name(
      tensors_.size(), [this](size_t i) { return tensors_[i].name; }, "tensor", source_);
}

const Value* WeightsFile::find_value(std::string_view key) const {
  const size_t at =
      position_of(key, keys_by_name_, [this](size_t i) { return key_values_[i].key; });
  return at < key_values_.size() ? &key_values_[at].value : nullptr;
}

const TensorEntry* WeightsFile::find_tensor(std::string_view name) const {
  const size_t at =
      position_of(name, tensors_by_name_, [this](size_t i) { return tensors_[i].name; });
  return at < tensors_.size() ? &tensors_[at] : nullptr;
}

}  // namespace lightcap::internal
