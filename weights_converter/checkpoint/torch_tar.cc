// torch.save of 2016 and early 2017: a tar archive of `storages`, `tensors` and `pickle`, where the
// pickle names tensors by their number.
#include <array>

#include "weights_converter/checkpoint/byte_reader.h"
#include "weights_converter/checkpoint/readers.h"
#include "weights_converter/checkpoint/tensor_walk.h"

namespace lightcap::internal {
namespace {

constexpr size_t kBlock = 512;

// Bytes of memory for a storage and a region, with their nodes in maps.
constexpr uint64_t kStorageCost = 192;
constexpr uint64_t kRegionCost = 160;
constexpr uint64_t kTensorCost = sizeof(CheckpointTensor) + 160;

std::string_view as_text(std::span<const uint8_t> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return text.substr(0, text.find('\0'));
}

uint64_t octal(std::span<const uint8_t> field, const char* what) {
  uint64_t value = 0;
  bool digits = false;
  for (const uint8_t c : field) {
    if (c >= '0' && c <= '7') {
      value = value << 3 | static_cast<uint64_t>(c - '0');
      digits = true;
    } else if (digits || c != ' ') {
      break;
    }
  }
  if (!digits) fail_checkpoint(std::string("damaged tar archive: ") + what + " is not a number");
  return value;
}

void check_header(std::span<const uint8_t> header) {
  constexpr size_t kChecksum = 148, kChecksumSize = 8;
  uint64_t sum = 0;
  for (size_t i = 0; i < kBlock; ++i) {
    sum += i >= kChecksum && i < kChecksum + kChecksumSize ? ' ' : header[i];
  }
  if (sum != octal(header.subspan(kChecksum, kChecksumSize), "a checksum")) {
    fail_checkpoint("damaged tar archive: the checksum of member '" +
                    excerpt(as_text(header.first(100))) + "' does not match");
  }
}

// A member's bytes and where they begin.
struct Member {
  std::span<const uint8_t> bytes;
  size_t origin = 0;
};

std::map<std::string, Member> read_members(std::span<const uint8_t> file) {
  std::map<std::string, Member> members;
  ByteReader reader(file, "the tar archive");
  while (reader.left() >= kBlock) {
    const auto header = reader.take(kBlock, "a header");
    if (header[0] == 0) break;  // the end: blocks of zeros
    check_header(header);
    const uint64_t size = octal(header.subspan(124, 12), "a member's size");
    std::string name(as_text(header.first(100)));
    if (name.starts_with("./")) name.erase(0, 2);
    if (size > reader.left()) {
      fail_checkpoint("truncated tar archive: member '" + excerpt(name) + "' of " +
                      std::to_string(size) + " bytes reaches past the end; get the file again");
    }
    const size_t origin = reader.position();
    const auto bytes = reader.take(size, "a member");
    reader.skip(std::min<uint64_t>((kBlock - size % kBlock) % kBlock, reader.left()), "padding");
    // '0' and NUL are files; 'x', 'g' and 'L' describe the next one, and add nothing here.
    if (header[156] != '0' && header[156] != 0) continue;
    if (!members.emplace(name, Member{bytes, origin}).second) {
      fail_checkpoint("the tar archive has two members '" + excerpt(name) + "'");
    }
  }
  return members;
}

// Pickles and plain numbers one after the other.
class Sequence {
 public:
  Sequence(const Member& member, const char* where, Budget& budget)
      : bytes_(member.bytes), where_(where), origin_(member.origin), budget_(budget) {}

  Pickle pickle() {
    Pickle next(bytes_.subspan(position_), where_, budget_, origin_ + position_);
    position_ += next.size();
    return next;
  }
  std::span<const uint8_t> take(uint64_t count, const char* what) {
    ByteReader reader(bytes_.subspan(position_), where_, origin_ + position_);
    const auto taken = reader.take(count, what);
    position_ += taken.size();
    return taken;
  }
  template <class T>
  T number(const char* what) {
    return ByteReader(take(sizeof(T), what), where_).number<T>(what);
  }
  int64_t i64(const char* what) { return static_cast<int64_t>(number<uint64_t>(what)); }
  // The pickled number of things that follow; each takes a byte at least.
  size_t count() {
    const Pickle pickled = pickle();
    const auto value = pickled.integer(pickled.root());
    if (!value || *value < 0 || static_cast<uint64_t>(*value) > bytes_.size()) {
      fail_checkpoint(std::string(where_) + " begins with an absurd count");
    }
    return static_cast<size_t>(*value);
  }

 private:
  std::span<const uint8_t> bytes_;
  const char* where_;
  size_t origin_;
  Budget& budget_;
  size_t position_ = 0;
};

// The integers of a pickled tuple, and the name of its class where it has one.
struct Header {
  std::vector<int64_t> numbers;
  std::string class_name;
};

Header read_header(const Pickle& pickle, NodeId tuple, size_t min_numbers, const char* what) {
  Header header;
  for (const NodeId item : pickle.items(tuple)) {
    if (const auto number = pickle.integer(item)) header.numbers.push_back(*number);
    if (pickle.is(item, NodeKind::kGlobal)) {
      const std::string_view name = pickle[item].text;
      header.class_name = name.substr(name.rfind('.') + 1);
    }
  }
  if (header.numbers.size() < min_numbers) {
    fail_checkpoint(std::string(what) + " is not described by numbers");
  }
  return header;
}

class TarTensors : public StorageSource {
 public:
  TarTensors(Budget& budget, Checkpoint& checkpoint) : budget_(budget), checkpoint_(checkpoint) {}

  void read_storages(Sequence sequence) {
    for (size_t left = sequence.count(); left > 0; --left) {
      const Pickle pickle = sequence.pickle();  // (key, location, class)
      const Header header = read_header(pickle, pickle.root(), 1, "a storage");
      const size_t width = storage_element_bytes(header.class_name);
      const auto elements = sequence.number<uint64_t>("a storage's size");
      budget_.charge(kStorageCost);
      if (elements > UINT64_MAX / width) fail_checkpoint("a storage's size is absurd");
      const Region region{static_cast<uint32_t>(checkpoint_.storages.size()), 0, elements,
                          header.class_name};
      checkpoint_.storages.emplace_back(sequence.take(elements * width, "a storage"));
      add_region(header.numbers[0], region);
    }
    const Pickle views = sequence.pickle();  // [(key, key of the whole, offset, elements) ...]
    for (const NodeId item : views.items(views.root())) {
      const auto numbers = read_header(views, item, 4, "a storage's view").numbers;
      const Region& whole = region(numbers[1]);
      const auto offset = static_cast<uint64_t>(numbers[2]);
      const auto elements = static_cast<uint64_t>(numbers[3]);
      if (offset > whole.elements || elements > whole.elements - offset) {
        fail_checkpoint("a storage's view reaches outside of it");
      }
      add_region(numbers[0], {whole.storage, whole.offset + offset, elements, whole.class_name});
    }
  }

  void read_tensors(Sequence sequence) {
    for (size_t left = sequence.count(); left > 0; --left) {
      const Pickle pickle = sequence.pickle();  // (key, storage's key, class)
      const Header header = read_header(pickle, pickle.root(), 2, "a tensor");
      const auto dims = sequence.number<uint32_t>("a tensor's dimensions");
      sequence.take(4, "a tensor's padding");  // PyTorch writes what happens to be in memory
      std::array<int64_t, 64> shape{}, strides{};
      if (dims > shape.size()) {
        fail_checkpoint("a tensor has " + std::to_string(dims) + " dimensions");
      }
      for (uint32_t i = 0; i < dims; ++i) shape[i] = sequence.i64("a tensor's shape");
      for (uint32_t i = 0; i < dims; ++i) strides[i] = sequence.i64("a tensor's strides");
      const int64_t offset = sequence.i64("a tensor's offset");
      const Region& storage = region(header.numbers[1]);
      const auto type = storage_element_type(storage.class_name);
      if (!type) fail_checkpoint("a tensor has elements of class " + storage.class_name);
      CheckpointTensor tensor =
          make_view(*type, storage.storage, storage.elements, offset, std::span(shape).first(dims),
                    std::span(strides).first(dims));
      tensor.offset += storage.offset * element_bytes(*type);
      budget_.charge(kTensorCost + 2 * sizeof(uint64_t) * dims);
      tensors_.insert_or_assign(std::to_string(header.numbers[0]), std::move(tensor));
    }
  }

  const CheckpointTensor* tensor(std::string_view id) override {
    const auto found = tensors_.find(id);
    return found == tensors_.end() ? nullptr : &found->second;
  }
  uint32_t storage(std::string_view key) override {
    fail_checkpoint("the pickle refers to storage '" + excerpt(key) +
                    "' directly, which this format does not do");
  }

 private:
  // A storage or a part of one, in elements.
  struct Region {
    uint32_t storage;
    uint64_t offset, elements;
    std::string class_name;
  };
  const Region& region(int64_t key) const {
    const auto found = regions_.find(key);
    if (found == regions_.end()) {
      fail_checkpoint("storage " + std::to_string(key) + " is not in the file");
    }
    return found->second;
  }
  void add_region(int64_t key, const Region& region) {
    budget_.charge(kRegionCost);
    if (!regions_.emplace(key, region).second) {
      fail_checkpoint("storage " + std::to_string(key) + " is there twice");
    }
  }

  Budget& budget_;
  Checkpoint& checkpoint_;
  std::map<int64_t, Region> regions_;
  std::map<std::string, CheckpointTensor, std::less<>> tensors_;
};

}  // namespace

bool is_tar(std::span<const uint8_t> file) {
  constexpr size_t kMagic = 257;
  return file.size() >= kBlock && as_text(file.subspan(kMagic, 5)) == "ustar";
}

void read_torch_tar(std::span<const uint8_t> file, Budget& budget, Checkpoint& checkpoint) {
  checkpoint.format = "torch.save (tar, before 0.2)";
  const auto members = read_members(file);
  const auto member = [&](const char* name) -> const Member& {
    const auto found = members.find(name);
    if (found == members.end()) {
      fail_checkpoint(std::string("a tar archive without the member '") + name +
                      "', so not a PyTorch checkpoint; if one is inside, unpack it and name that "
                      "file");
    }
    return found->second;
  };
  const Member& object = member("pickle");
  TarTensors tensors(budget, checkpoint);
  tensors.read_storages(Sequence(member("storages"), "the tar's storages", budget));
  tensors.read_tensors(Sequence(member("tensors"), "the tar's tensors", budget));
  const Pickle pickle(object.bytes, "the tar's pickle", budget, object.origin);
  collect_tensors(pickle, tensors, {}, budget, checkpoint);
}

}  // namespace lightcap::internal
