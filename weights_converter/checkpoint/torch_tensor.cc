#include "weights_converter/checkpoint/torch_tensor.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "engine/io/limits.h"
#include "weights_converter/checkpoint/byte_reader.h"

namespace lightcap::internal {
namespace {

using Named = std::pair<std::string_view, ElementType>;

constexpr Named kStorageTypes[] = {
    {"DoubleStorage", ElementType::kF64}, {"FloatStorage", ElementType::kF32},
    {"HalfStorage", ElementType::kF16},   {"BFloat16Storage", ElementType::kBf16},
    {"LongStorage", ElementType::kI64},   {"IntStorage", ElementType::kI32},
    {"ShortStorage", ElementType::kI16},  {"CharStorage", ElementType::kI8},
    {"ByteStorage", ElementType::kU8},    {"BoolStorage", ElementType::kBool},
    {"UntypedStorage", ElementType::kU8}, {"_UntypedStorage", ElementType::kU8},
};

constexpr Named kTorchTypes[] = {
    {"torch.float64", ElementType::kF64},   {"torch.double", ElementType::kF64},
    {"torch.float32", ElementType::kF32},   {"torch.float", ElementType::kF32},
    {"torch.float16", ElementType::kF16},   {"torch.half", ElementType::kF16},
    {"torch.bfloat16", ElementType::kBf16}, {"torch.int64", ElementType::kI64},
    {"torch.int32", ElementType::kI32},     {"torch.int16", ElementType::kI16},
    {"torch.int8", ElementType::kI8},       {"torch.uint64", ElementType::kU64},
    {"torch.uint32", ElementType::kU32},    {"torch.uint16", ElementType::kU16},
    {"torch.uint8", ElementType::kU8},      {"torch.bool", ElementType::kBool},
};

std::optional<ElementType> lookup(std::span<const Named> names, std::string_view name) {
  for (const auto& [candidate, type] : names) {
    if (candidate == name) return type;
  }
  return std::nullopt;
}

std::string_view last_part(std::string_view dotted) { return dotted.substr(dotted.rfind('.') + 1); }

// Why a rebuild function other than those we know makes nothing that we can read.
std::string refusal_of(std::string_view function) {
  const auto has = [function](const char* word) {
    return function.find(word) != std::string_view::npos;
  };
  const char* kind = has("qtensor")                               ? "quantised"
                     : has("sparse")                              ? "sparse"
                     : has("nested")                              ? "nested"
                     : has("numpy") || has("_rebuild_xla_tensor") ? "kept as a NumPy array"
                     : has("meta")                                ? "without data (device 'meta')"
                     : has("subclass") ? "of a subclass that only its own Python code can rebuild"
                                       : "of an unknown kind";
  return std::string(kind) + " (" + excerpt(function) + ")";
}

CheckpointTensor refused(std::string reason) {
  CheckpointTensor tensor;
  tensor.refusal = std::move(reason);
  return tensor;
}

}  // namespace

std::optional<ElementType> storage_element_type(std::string_view class_name) {
  return lookup(kStorageTypes, class_name);
}

size_t storage_element_bytes(std::string_view class_name) {
  if (const auto type = storage_element_type(class_name)) return element_bytes(*type);
  constexpr std::pair<std::string_view, size_t> kOthers[] = {
      {"ComplexDoubleStorage", 16}, {"ComplexFloatStorage", 8}, {"ComplexHalfStorage", 4},
      {"QInt32Storage", 4},         {"QInt8Storage", 1},        {"QUInt8Storage", 1},
      {"QUInt4x2Storage", 1},       {"QUInt2x4Storage", 1},
  };
  for (const auto& [name, bytes] : kOthers) {
    if (name == class_name) return bytes;
  }
  fail_checkpoint("storage class '" + excerpt(class_name) + "' is not known");
}

CheckpointTensor make_view(ElementType type, uint32_t storage, uint64_t elements, int64_t offset,
                           std::span<const int64_t> shape, std::span<const int64_t> strides) {
  constexpr uint64_t kMaxElements = uint64_t{1} << 48;
  if (shape.size() > limits::kMaxTensorDims || shape.size() != strides.size()) {
    fail_checkpoint("a tensor has " + std::to_string(shape.size()) + " dimensions and " +
                    std::to_string(strides.size()) + " strides");
  }
  CheckpointTensor tensor;
  tensor.type = type;
  tensor.storage = storage;
  const bool empty = std::find(shape.begin(), shape.end(), 0) != shape.end();
  // Index of the last element: bounded in each step, so nothing overflows.
  uint64_t count = 1, last = static_cast<uint64_t>(offset);
  bool outside = offset < 0 || last > kMaxElements;
  for (size_t i = 0; i < shape.size() && !outside; ++i) {
    if (shape[i] < 0 || strides[i] < 0) {
      fail_checkpoint("a tensor has a negative size or stride: " + std::to_string(shape[i]) +
                      " and " + std::to_string(strides[i]));
    }
    const auto size = static_cast<uint64_t>(shape[i]), stride = static_cast<uint64_t>(strides[i]);
    tensor.shape.push_back(size);
    tensor.strides.push_back(stride);
    if (empty) continue;
    outside = size > kMaxElements / count ||
              (stride > 0 && size > 1 && (size - 1) > (kMaxElements - last) / stride);
    if (outside) break;
    count *= size;
    last += (size - 1) * stride;
    outside = last > kMaxElements;
  }
  if (outside || (!empty && last >= elements)) {
    std::string text;
    for (const int64_t size : shape) text += (text.empty() ? "" : ", ") + std::to_string(size);
    fail_checkpoint("a tensor of shape [" + text + "] at offset " + std::to_string(offset) +
                    " reaches outside of its storage of " + std::to_string(elements) + " elements");
  }
  tensor.offset = empty ? 0 : static_cast<uint64_t>(offset) * element_bytes(type);
  return tensor;
}

// A storage as a tensor names it. `elements` lie at `offset` elements in it.
struct TensorDecoder::StorageView {
  std::string_view class_name;  // without module
  uint32_t storage = 0;
  uint64_t elements = 0;
  uint64_t offset = 0;
};

int64_t TensorDecoder::integer(NodeId id, const char* what) const {
  const auto value = pickle_.integer(id);
  if (!value) fail_checkpoint(std::string("a tensor's ") + what + " is not a 64-bit number");
  return *value;
}

std::vector<int64_t> TensorDecoder::integers(NodeId id, const char* what) const {
  if (pickle_.class_name(id) == "torch.Size" && pickle_.arguments(id).size() == 1) {
    id = pickle_.arguments(id)[0];
  }
  if (!pickle_.is(id, NodeKind::kTuple) && !pickle_.is(id, NodeKind::kList)) {
    fail_checkpoint(std::string("a tensor's ") + what + " is not a tuple");
  }
  const auto items = pickle_.items(id);
  // Before they are gone through: many tensors may share one long list.
  if (items.size() > limits::kMaxTensorDims) {
    fail_checkpoint("a tensor's " + std::string(what) + " has " + std::to_string(items.size()) +
                    " dimensions, the limit is " + std::to_string(limits::kMaxTensorDims));
  }
  std::vector<int64_t> values;
  for (const NodeId item : items) values.push_back(integer(item, what));
  return values;
}

TensorDecoder::StorageView TensorDecoder::storage_view(NodeId id) {
  // ('storage', class, key, location, elements[, (key of the view, offset, elements) or None])
  const auto fields = pickle_.is(id, NodeKind::kPersistent)
                          ? pickle_.items(pickle_[id].call.arguments)
                          : std::span<const NodeId>();
  if (fields.size() < 5 || pickle_.string(fields[0]) != "storage" ||
      !pickle_.is(fields[1], NodeKind::kGlobal)) {
    fail_checkpoint(
        "a tensor's storage is not of the form ('storage', class, key, location, "
        "elements)");
  }
  StorageView view;
  view.class_name = last_part(pickle_[fields[1]].text);
  std::string key;
  if (const auto text = pickle_.string(fields[2])) {
    if (text->size() > limits::kMaxStorageKey) {
      fail_checkpoint("a storage's key has " + std::to_string(text->size()) +
                      " bytes, the limit is " + std::to_string(limits::kMaxStorageKey));
    }
    key = *text;
  } else {
    key = std::to_string(integer(fields[2], "storage key"));
  }
  const int64_t elements = integer(fields[4], "storage size");
  if (elements < 0) fail_checkpoint("storage '" + excerpt(key) + "' has a negative size");
  view.elements = static_cast<uint64_t>(elements);
  view.storage = source_.storage(key);
  const auto type = storage_element_type(view.class_name);
  const uint64_t bytes = checkpoint_.storages[view.storage].size();
  if (type && view.elements > bytes / element_bytes(*type)) {
    fail_checkpoint("storage '" + excerpt(key) + "' has " + std::to_string(bytes) +
                    " bytes, too few for its " + std::to_string(view.elements) + " elements of " +
                    element_type_info(*type).name);
  }
  if (fields.size() > 5 && pickle_.is(fields[5], NodeKind::kTuple)) {
    const auto part = pickle_.items(fields[5]);
    if (part.size() != 3)
      fail_checkpoint("a storage's view is not of the form (key, offset, size)");
    const int64_t offset = integer(part[1], "storage view"),
                  size = integer(part[2], "storage view");
    if (offset < 0 || size < 0 || static_cast<uint64_t>(offset) > view.elements ||
        static_cast<uint64_t>(size) > view.elements - static_cast<uint64_t>(offset)) {
      fail_checkpoint("a view of storage '" + excerpt(key) + "' reaches outside of it");
    }
    view.offset = static_cast<uint64_t>(offset);
    view.elements = static_cast<uint64_t>(size);
  }
  return view;
}

// _rebuild_tensor(storage, offset, shape, strides), _v2(..., requires_grad, hooks[, metadata]),
// _v3(..., requires_grad, hooks, dtype[, metadata]): there the storage is bytes.
CheckpointTensor TensorDecoder::rebuild(std::string_view function,
                                        std::span<const NodeId> arguments) {
  const bool typed = function == "torch._utils._rebuild_tensor_v3";
  if (arguments.size() < (typed ? 7 : 4)) {
    fail_checkpoint(excerpt(function) + " has too few arguments");
  }
  const StorageView view = storage_view(arguments[0]);
  std::optional<ElementType> type = storage_element_type(view.class_name);
  uint64_t elements = view.elements;
  if (typed) {
    const NodeId dtype = arguments[6];
    const std::string_view name =
        pickle_.is(dtype, NodeKind::kGlobal) ? pickle_[dtype].text : std::string_view();
    if (type != ElementType::kU8) fail_checkpoint("a typed tensor's storage is not untyped");
    type = lookup(kTorchTypes, name);
    if (!type) return refused("of type " + excerpt(name));
    elements /= element_bytes(*type);
  }
  if (!type) {
    const bool complex = view.class_name.find("Complex") != std::string_view::npos;
    const bool quantised = view.class_name.find("QInt") != std::string_view::npos ||
                           view.class_name.find("QUInt") != std::string_view::npos;
    return refused(std::string(complex     ? "complex"
                               : quantised ? "quantised"
                                           : "of unknown type") +
                   " (" + excerpt(view.class_name) + ")");
  }
  const int64_t offset = integer(arguments[1], "offset");
  const std::vector<int64_t> shape = integers(arguments[2], "shape");
  const std::vector<int64_t> strides = integers(arguments[3], "strides");
  CheckpointTensor tensor = make_view(*type, view.storage, elements, offset, shape, strides);
  tensor.offset += view.offset * element_bytes(*storage_element_type(view.class_name));
  return tensor;
}

std::optional<CheckpointTensor> TensorDecoder::decode_call(std::string_view function,
                                                           std::span<const NodeId> arguments) {
  if (function == "torch._utils._rebuild_tensor" || function == "torch._utils._rebuild_tensor_v2" ||
      function == "torch._utils._rebuild_tensor_v3") {
    return rebuild(function, arguments);
  }
  const bool torch_function =
      function.starts_with("torch._utils._rebuild_") || function.starts_with("torch._tensor.");
  if (torch_function) return refused(refusal_of(function));
  return std::nullopt;
}

std::optional<CheckpointTensor> TensorDecoder::decode(NodeId id) {
  // A Parameter in a Parameter and so on; a cyclic one would not end.
  constexpr int kMaxWrappers = 16;
  for (int depth = 0; depth < kMaxWrappers; ++depth) {
    if (pickle_.is(id, NodeKind::kPersistent)) {
      const auto text = pickle_.string(pickle_[id].call.arguments);
      const auto number = pickle_.integer(pickle_[id].call.arguments);
      const CheckpointTensor* tensor = text     ? source_.tensor(*text)
                                       : number ? source_.tensor(std::to_string(*number))
                                                : nullptr;
      return tensor == nullptr ? std::nullopt : std::optional(*tensor);
    }
    const std::string_view function = pickle_.class_name(id);
    if (function.empty()) return std::nullopt;
    const auto arguments = pickle_.arguments(id);
    if (function == "torch._utils._rebuild_device_tensor_from_cpu_tensor") {
      // Devices whose memory has no storage, such as XLA's: (tensor, dtype, device, requires_grad)
      if (arguments.empty()) fail_checkpoint("a device's tensor comes without its values");
      id = arguments[0];
    } else if (function.starts_with("torch._utils._rebuild_parameter")) {
      if (arguments.empty()) fail_checkpoint("a Parameter holds no tensor");
      id = arguments[0];
    } else if (function == "torch.nn.parameter.Parameter") {
      // Parameter(tensor), or from the state (tensor, ...) that versions before 0.4 wrote.
      const NodeId state = pickle_[id].call.state;
      const auto fields = pickle_.is(state, NodeKind::kTuple) ? pickle_.items(state) : arguments;
      if (fields.empty()) fail_checkpoint("a Parameter holds no tensor");
      id = fields[0];
    } else if (function.starts_with("torch._tensor._rebuild_from_type")) {
      // (function, class, its arguments[, state])
      if (arguments.size() < 3 || !pickle_.is(arguments[0], NodeKind::kGlobal)) {
        fail_checkpoint("a tensor's subclass names no function that rebuilds it");
      }
      return decode_call(pickle_[arguments[0]].text, pickle_.items(arguments[2]));
    } else {
      return decode_call(function, arguments);
    }
  }
  fail_checkpoint("a tensor is wrapped more than " + std::to_string(kMaxWrappers) + " times");
}

}  // namespace lightcap::internal
