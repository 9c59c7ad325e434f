#include "tests/checkpoint_files.h"

#include <cstdio>
#include <cstring>
#include <stdexcept>

namespace lightcap::testing {
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
  const std::string end = "PK\x05\x06" + little(0, 4) + little(members.size(), 2) +
                          little(members.size(), 2) + little(directory.size(), 4) +
                          little(file.size(), 4) + little(0, 2);
  return file + directory + end;
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

}  // namespace lightcap::testing
