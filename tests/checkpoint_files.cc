#include "tests/checkpoint_files.h"

#include <cstdio>
#include <cstring>
#include <stdexcept>

namespace lightcap::internal::testing {
namespace {

std::string joined(const std::vector<std::string>& items) {
  std::string result;
  for (const std::string& item : items) result += item;
  return result;
}

std::string joined(const std::vector<std::pair<std::string, std::string>>& entries) {
  std::string result;
  for (const auto& [key, value] : entries) result += key + value;
  return result;
}

// Deflate's fixed codes (RFC 1951, 3.2.6).
class FixedCodes {
 public:
  FixedCodes() { put(0b011, 3); }  // the last block, of fixed codes

  void literal(uint8_t byte) {
    if (byte < 144) {
      put_reversed(0x30u + byte, 8);
    } else {
      put_reversed(0x190u + byte - 144u, 9);
    }
  }
  // 258 bytes, the most that a code can mean, from `distance` bytes before.
  void longest_match(uint32_t distance) {
    put_reversed(0xC0 + 285 - 280, 8);
    uint32_t code = 0, base = 1, extra = 0;
    while (distance >= base + (1u << extra)) {
      base += 1u << extra;
      ++code;
      extra = code < 4 ? 0 : code / 2 - 1;
    }
    put_reversed(code, 5);
    put(distance - base, extra);
  }
  std::string end() {
    put_reversed(0, 7);
    put(0, 7);
    return bytes_;
  }

 private:
  void put(uint32_t bits, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      if (free_ == 0) {
        bytes_.push_back('\0');
        free_ = 8;
      }
      const uint32_t bit = bits >> i & 1;
      bytes_.back() = static_cast<char>(static_cast<uint8_t>(bytes_.back()) | bit << (8 - free_));
      --free_;
    }
  }
  void put_reversed(uint32_t bits, size_t count) {
    for (size_t i = count; i-- > 0;) put(bits >> i, 1);
  }

  std::string bytes_;
  size_t free_ = 0;
};

}  // namespace

std::span<const uint8_t> as_bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::string little(uint64_t value, size_t size) {
  std::string bytes;
  for (size_t i = 0; i < size; ++i)
    bytes.push_back(static_cast<char>(i < 8 ? value >> (8 * i) : 0));
  return bytes;
}

std::string floats(const std::vector<float>& values) {
  std::string bytes(values.size() * sizeof(float), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

std::string text(std::string_view value) {
  return "X" + little(value.size(), 4) + std::string(value);
}

std::string integer(int64_t value) {
  if (value == static_cast<int32_t>(value)) return "J" + little(static_cast<uint64_t>(value), 4);
  return "\x8a\x08" + little(static_cast<uint64_t>(value), 8);
}

std::string global(std::string_view module, std::string_view name) {
  return "c" + std::string(module) + "\n" + std::string(name) + "\n";
}

std::string tuple(const std::vector<std::string>& items) { return "(" + joined(items) + "t"; }

std::string integers(const std::vector<int64_t>& values) {
  std::vector<std::string> items;
  for (const int64_t value : values) items.push_back(integer(value));
  return tuple(items);
}

std::string list(const std::vector<std::string>& items) { return "](" + joined(items) + "e"; }

std::string dict(const std::vector<std::pair<std::string, std::string>>& entries) {
  return "}(" + joined(entries) + "u";
}

std::string call(const std::string& callable, const std::vector<std::string>& arguments) {
  return callable + tuple(arguments) + "R";
}

std::string ordered_dict(const std::vector<std::pair<std::string, std::string>>& entries) {
  return call(global("collections", "OrderedDict"), {}) + "(" + joined(entries) + "u";
}

std::string object(const std::string& type, const std::string& state) {
  return type + ")\x81" + state + "b";
}

std::string module(const std::string& type, const std::string& parameters,
                   const std::string& buffers, const std::string& children,
                   const std::vector<std::pair<std::string, std::string>>& more) {
  std::vector<std::pair<std::string, std::string>> state = {{text("training"), "\x89"},
                                                            {text("_parameters"), parameters},
                                                            {text("_buffers"), buffers},
                                                            {text("_modules"), children}};
  state.insert(state.end(), more.begin(), more.end());
  return object(type, dict(state));
}

std::string storage(std::string_view type, std::string_view key, int64_t elements) {
  return tuple(
             {text("storage"), global("torch", type), text(key), text("cpu"), integer(elements)}) +
         "Q";
}

std::string tensor(const std::string& storage, int64_t offset, const std::vector<int64_t>& shape,
                   const std::vector<int64_t>& strides) {
  return call(
      global("torch._utils", "_rebuild_tensor_v2"),
      {storage, integer(offset), integers(shape), integers(strides), "\x89", ordered_dict({})});
}

std::string pickle(const std::string& value) { return kProto + value + "."; }

std::string deflated(std::string_view data, size_t repeats, uint32_t period) {
  constexpr size_t kLongest = 258, kWindow = 32768, kHashes = 4096;
  FixedCodes codes;
  std::vector<size_t> seen(kHashes, std::string_view::npos);
  for (size_t at = 0; at < data.size();) {
    size_t distance = 0;
    if (data.size() - at >= kLongest) {
      const std::string_view key = data.substr(at, 8);
      size_t& before = seen[std::hash<std::string_view>()(key) % kHashes];
      const bool near = before != std::string_view::npos && at - before <= kWindow;
      if (near && data.substr(before, kLongest) == data.substr(at, kLongest))
        distance = at - before;
      before = at;
    }
    if (distance != 0) {
      codes.longest_match(static_cast<uint32_t>(distance));
      at += kLongest;
    } else {
      codes.literal(static_cast<uint8_t>(data[at++]));
    }
  }
  for (size_t i = 0; i < repeats; ++i) codes.longest_match(period);
  return codes.end();
}

ZipMember deflated_member(std::string name, std::string_view data) {
  constexpr int kDeflated = 8;
  return {std::move(name), deflated(data), kDeflated, data.size()};
}

std::string zip(const std::vector<ZipMember>& members) {
  std::string file, directory;
  for (const ZipMember& member : members) {
    const uint64_t size = member.size == UINT64_MAX ? member.data.size() : member.size;
    const std::string common = little(0, 2) + little(static_cast<uint64_t>(member.method), 2) +
                               little(0, 4) + little(member.crc32, 4) +
                               little(member.data.size(), 4) + little(size, 4);
    const std::string& local = member.local_name.empty() ? member.name : member.local_name;
    directory += "PK\x01\x02" + little(0, 4) + common + little(member.name.size(), 2) +
                 little(0, 4) + little(0, 8) + little(file.size(), 4) + member.name;
    file += "PK\x03\x04" + little(0, 2) + common + little(local.size(), 2) + little(0, 2) + local +
            member.data;
  }
  const size_t directory_at = file.size(), end_at = directory_at + directory.size();
  file += directory;
  const bool many = members.size() > 0xFFFE;
  if (many) {
    file += "PK\x06\x06" + little(44, 8) + little(0, 12) + little(members.size(), 8) +
            little(members.size(), 8) + little(directory.size(), 8) + little(directory_at, 8);
    file += "PK\x06\x07" + little(0, 4) + little(end_at, 8) + little(1, 4);
  }
  const uint64_t count = many ? 0xFFFF : members.size();
  return file + "PK\x05\x06" + little(0, 4) + little(count, 2) + little(count, 2) +
         little(directory.size(), 4) + little(directory_at, 4) + little(0, 2);
}

std::string torch_zip(const std::string& value,
                      const std::vector<std::pair<std::string, std::string>>& storages) {
  std::vector<ZipMember> members = {{"archive/data.pkl", pickle(value)}};
  for (const auto& [key, data] : storages) members.push_back({"archive/data/" + key, data});
  members.push_back({"archive/version", "3\n"});
  return zip(members);
}

std::string torch_zip_of(const std::vector<std::pair<std::string, std::vector<int64_t>>>& tensors) {
  std::vector<std::pair<std::string, std::string>> entries, storages;
  for (const auto& [name, shape] : tensors) {
    std::vector<int64_t> strides(shape.size());
    int64_t count = 1;
    for (size_t i = shape.size(); i-- > 0;) {
      strides[i] = count;
      count *= shape[i];
    }
    std::vector<float> values;
    for (int64_t i = 0; i < count; ++i) values.push_back(static_cast<float>(i));
    const std::string key = std::to_string(storages.size());
    entries.emplace_back(text(name),
                         tensor(storage("FloatStorage", key, count), 0, shape, strides));
    storages.emplace_back(key, floats(values));
  }
  return torch_zip(ordered_dict(entries), storages);
}

std::string torch_script() {
  const std::string t = tensor(storage("FloatStorage", "0", 2), 0, {2}, {1});
  const std::string child =
      object(global("__torch__.m", "Child"),
             dict({{text("weight"), t}, {text("state"), t}, {text("steps"), t}}));
  const std::string root = object(global("__torch__", "Root"), dict({{text("-1"), child}}));
  return zip(
      {{"m/data.pkl", pickle(root)},
       {"m/data/0", floats({0, 1})},
       {"m/constants.pkl", pickle(")")},
       {"m/code/__torch__.py", "class Root(Module):\n  __parameters__ = []\n  __buffers__ = []\n"},
       {"m/code/__torch__/m.py",
        "class Child(Module):\n  __parameters__ = [\"weight\", ]\n"
        "  __buffers__ = [\"steps\", ]\n"}});
}

std::string yolo_module() {
  const std::string t = tensor(storage("FloatStorage", "0", 3), 0, {3}, {1});
  const std::string parameter =
      call(global("torch._utils", "_rebuild_parameter"), {t, "\x88", ordered_dict({})});
  const std::string weight = ordered_dict({{text("weight"), parameter}, {text("bias"), "N"}});
  const std::string none = dict({});
  const std::string scratch = call(global("__builtin__", "set"), {list({text("scratch")})});
  const std::string norm =
      module(global("torch.nn.modules.batchnorm", "BatchNorm2d"), weight,
             dict({{text("running_mean"), t}, {text("scratch"), t}}), none,
             {{text("eps"), std::string("G\x3f\x50\x62\x4d\xd2\xf1\xa9\xfc", 9)},  // 0.001
              {text("_non_persistent_buffers_set"), scratch}});
  const std::string conv =
      module(global("torch.nn.modules.conv", "Conv2d"), weight, none, none, {});
  const std::string first = module(global("models.common", "Conv"), none, none,
                                   dict({{text("conv"), conv}, {text("bn"), norm}}), {});
  const std::string heads =
      module(global("torch.nn", "ModuleList"), none, none, dict({{text("0"), conv}}), {});
  const std::string detect =
      module(global("models.yolo", "Detect"), none, dict({{text("anchors"), t}}),
             dict({{text("m"), heads}}), {{text("stride"), t}, {text("grid"), list({t})}});
  const std::string layers = module(global("torch.nn", "Sequential"), none, none,
                                    dict({{text("0"), first}, {text("24"), detect}}), {});
  const std::string yolo =
      module(global("models.yolo", "DetectionModel"), none, none, dict({{text("model"), layers}}),
             {{text("names"), dict({{integer(0), text("cat")}, {integer(1), text("dog")}})},
              {text("save"), list({integer(4), integer(6)})},
              {text("yaml"), dict({{text("nc"), integer(2)}, {text("layers"), list({none})}})}});
  return torch_zip(dict({{text("ema"), "N"}, {text("model"), yolo}}), {{"0", floats({8, 16, 32})}});
}

std::string torch_legacy(const std::string& value, const std::vector<std::string>& keys,
                         const std::string& storages) {
  std::vector<std::string> names;
  for (const std::string& key : keys) names.push_back(text(key));
  return pickle("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19") + pickle(integer(1001)) +
         pickle(dict({{text("little_endian"), "\x88"}})) + pickle(value) + pickle(list(names)) +
         storages;
}

std::string tar(const std::vector<std::pair<std::string, std::string>>& members) {
  constexpr size_t kBlock = 512;
  std::string file;
  for (const auto& [name, data] : members) {
    std::string header(kBlock, '\0');
    const auto put = [&header](size_t at, std::string_view field) {
      header.replace(at, field.size(), field);
    };
    char size[16], checksum[16];
    std::snprintf(size, sizeof(size), "%011zo", data.size());
    put(0, name);
    put(124, size);
    put(148, "        ");
    put(156, "0");
    put(257, "ustar");
    unsigned sum = 0;
    for (const char c : header) sum += static_cast<unsigned char>(c);
    std::snprintf(checksum, sizeof(checksum), "%06o", sum);
    put(148, checksum);
    file += header + data + std::string((kBlock - data.size() % kBlock) % kBlock, '\0');
  }
  return file + std::string(2 * kBlock, '\0');
}

std::string safetensors(const std::string& header, const std::string& data) {
  return little(header.size(), 8) + header + data;
}

std::string patched(std::string file, size_t position, std::string_view bytes) {
  return file.replace(position, bytes.size(), bytes);
}

size_t position_of(const std::string& file, std::string_view bytes, size_t nth) {
  size_t position = file.find(bytes);
  while (nth-- > 0 && position != std::string::npos) position = file.find(bytes, position + 1);
  if (position == std::string::npos) throw std::logic_error("the pattern is not in the file");
  return position;
}

}  // namespace lightcap::internal::testing
