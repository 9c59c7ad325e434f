// Builds small checkpoints byte by byte, so that tests can make wrong ones too.
#ifndef LIGHTCAP_TESTS_CHECKPOINT_FILES_H_
#define LIGHTCAP_TESTS_CHECKPOINT_FILES_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lightcap::internal::testing {

// Files and pickles are strings here: they concatenate.
std::span<const uint8_t> as_bytes(const std::string& text);

// `value` in `size` bytes, little-endian.
std::string little(uint64_t value, size_t size);
std::string floats(const std::vector<float>& values);

// --- pieces of a pickle: each leaves one value on the stack ---

inline constexpr char kProto[] = "\x80\x02";
std::string text(std::string_view value);
std::string integer(int64_t value);  // 32 bits, or as a LONG1
std::string global(std::string_view module, std::string_view name);
std::string tuple(const std::vector<std::string>& items);
std::string integers(const std::vector<int64_t>& values);  // a tuple
std::string list(const std::vector<std::string>& items);
std::string dict(const std::vector<std::pair<std::string, std::string>>& entries);
std::string call(const std::string& callable, const std::vector<std::string>& arguments);
std::string ordered_dict(const std::vector<std::pair<std::string, std::string>>& entries);
// An instance of a class, with attributes.
std::string object(const std::string& type, const std::string& state);
// A torch.nn.Module, pickled whole: parameters, buffers and children are dictionaries, `more` other
// attributes.
std::string module(const std::string& type, const std::string& parameters,
                   const std::string& buffers, const std::string& children,
                   const std::vector<std::pair<std::string, std::string>>& more);
std::string storage(std::string_view type, std::string_view key, int64_t elements);
std::string tensor(const std::string& storage, int64_t offset, const std::vector<int64_t>& shape,
                   const std::vector<int64_t>& strides);
// A whole pickle.
std::string pickle(const std::string& value);

// --- files ---

struct ZipMember {
  std::string name;
  std::string data;
  int method = 0;
  uint64_t size = UINT64_MAX;   // unpacked; that of the data where not given
  uint32_t crc32 = 0;           // 0: not checked
  std::string local_name = {};  // that of the directory where empty
};
// More than 65535 members get a zip64 directory.
std::string zip(const std::vector<ZipMember>& members);
// Deflated data that unpacks to `data` and then `repeats` times 258 bytes of what lies `period`
// bytes before. Repetitions in `data` are found; codes are fixed.
std::string deflated(std::string_view data, size_t repeats = 0, uint32_t period = 1);
// A member that is deflated, with its true size.
ZipMember deflated_member(std::string name, std::string_view data);
// As torch.save: data.pkl with this value, and the storages by key.
std::string torch_zip(const std::string& value,
                      const std::vector<std::pair<std::string, std::string>>& storages);
// A state dict of float tensors {name: shape}, filled with 0, 1, 2 ...
std::string torch_zip_of(const std::vector<std::pair<std::string, std::vector<int64_t>>>& tensors);
// A TorchScript archive: a module `Root` with the child `-1`, of class `m.Child`, whose tensors are
// a parameter `weight`, a buffer `steps` and an attribute `state`.
std::string torch_script();
// A detector as Ultralytics pickles it whole under the key `model`, of as few modules as will do.
std::string yolo_module();
std::string torch_legacy(const std::string& value, const std::vector<std::string>& keys,
                         const std::string& storages);
std::string tar(const std::vector<std::pair<std::string, std::string>>& members);
std::string safetensors(const std::string& header, const std::string& data);

// `file` with the bytes at `position` replaced.
std::string patched(std::string file, size_t position, std::string_view bytes);
// The position at which `bytes` occur for the `nth` time (0 the first). Throws std::logic_error
// where they do not.
size_t position_of(const std::string& file, std::string_view bytes, size_t nth = 0);

}  // namespace lightcap::internal::testing

#endif  // LIGHTCAP_TESTS_CHECKPOINT_FILES_H_
