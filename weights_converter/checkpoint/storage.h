// A run of bytes in a checkpoint that tensors are views of.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_STORAGE_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_STORAGE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>

namespace lightcap::internal {

class Storage {
 public:
  using Load = std::function<std::span<const uint8_t>()>;

  // `load` gives `size` bytes that live as long as itself; it is called at most once, when the
  // bytes are first wanted: it checks or inflates them, and throws Error(kCheckpoint).
  Storage(uint64_t size, bool big_endian, Load load)
      : size_(size), big_endian_(big_endian), lazy_(std::make_unique<Lazy>()) {
    lazy_->load = std::move(load);
  }
  explicit Storage(std::span<const uint8_t> bytes)
      : Storage(bytes.size(), false, [bytes] { return bytes; }) {}

  uint64_t size() const { return size_; }
  bool big_endian() const { return big_endian_; }
  std::span<const uint8_t> bytes() const {
    std::call_once(lazy_->once, [this] { lazy_->bytes = lazy_->load(); });
    return lazy_->bytes;
  }

 private:
  struct Lazy {
    std::once_flag once;
    Load load;
    std::span<const uint8_t> bytes;
  };
  uint64_t size_;
  bool big_endian_;
  std::unique_ptr<Lazy> lazy_;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_STORAGE_H_
