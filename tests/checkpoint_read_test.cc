// Sound checkpoints of each format are read: names, values, aliases, attributes.
#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/io/crc32.h"
#include "engine/runtime/error.h"
#include "tests/checkpoint_files.h"
#include "tests/temporary_folder.h"
#include "weights_converter/checkpoint/checkpoint.h"
#include "weights_converter/checkpoint/inflate.h"
#include "weights_converter/list.h"
#include "weights_converter/sha256.h"

namespace lightcap::internal::testing {
namespace {

// The result points into the file, so each lives to the end.
Checkpoint read(const std::string& file) {
  static std::deque<std::string> files;
  return read_checkpoint(as_bytes(files.emplace_back(file)), "file.pt");
}

std::vector<std::string> names_of(const Checkpoint& checkpoint) {
  std::vector<std::string> names;
  for (const CheckpointTensor& tensor : checkpoint.tensors) names.push_back(tensor.name);
  return names;
}

std::vector<float> values_of(const Checkpoint& checkpoint, std::string_view name) {
  const CheckpointTensor* tensor = checkpoint.find(name);
  if (tensor == nullptr) throw Error(ErrorCode::kInternal, "no tensor " + std::string(name));
  return checkpoint.read_as_f32(*tensor);
}

using Names = std::vector<std::string>;
using Values = std::vector<float>;

const std::string kSix = floats({0, 1, 2, 3, 4, 5});
const std::string kStorage = storage("FloatStorage", "0", 6);

TEST(CheckpointRead, ViewsFollowTheirStrides) {
  const std::string file =
      torch_zip(dict({{text("transposed"), tensor(kStorage, 0, {3, 2}, {1, 3})},
                      {text("column"), tensor(kStorage, 1, {2, 1}, {3, 1})},
                      {text("expanded"), tensor(kStorage, 4, {2, 3}, {0, 0})},
                      {text("scalar"), tensor(kStorage, 5, {}, {})},
                      {text("empty"), tensor(kStorage, 6, {0, 3}, {3, 1})},
                      {text("box"), tensor(kStorage, 0, {1, 2, 1, 3}, {77, 3, 99, 1})}}),
                {{"0", kSix}});
  const Checkpoint checkpoint = read(file);
  EXPECT_EQ(checkpoint.format, "torch.save (zip)");
  EXPECT_EQ(values_of(checkpoint, "transposed"), (Values{0, 3, 1, 4, 2, 5}));
  EXPECT_EQ(values_of(checkpoint, "column"), (Values{1, 4}));
  EXPECT_EQ(values_of(checkpoint, "expanded"), (Values{4, 4, 4, 4, 4, 4}));
  EXPECT_EQ(values_of(checkpoint, "scalar"), (Values{5}));
  EXPECT_EQ(values_of(checkpoint, "empty"), (Values{}));
  EXPECT_EQ(values_of(checkpoint, "box"), (Values{0, 1, 2, 3, 4, 5}));
}

TEST(CheckpointRead, BigEndianStoragesAreSwapped) {
  const std::string file =
      zip({{"m/data.pkl",
            pickle(dict({{text("w"), tensor(storage("ShortStorage", "0", 2), 0, {2}, {1})}}))},
           {"m/data/0", std::string("\x01\x02\xff\xfe")},
           {"m/byteorder", "big"}});
  const Checkpoint checkpoint = read(file);
  EXPECT_EQ(values_of(checkpoint, "w"), (Values{0x102, -2}));
  std::string bytes;
  checkpoint.read_bytes(checkpoint.tensors[0], [&](std::span<const uint8_t> piece) {
    bytes.append(piece.begin(), piece.end());
  });
  EXPECT_EQ(bytes, std::string("\x02\x01\xfe\xff"));
}

// One element of each type, as bits.
struct TypeCase {
  const char* storage_class;
  std::string bytes;
  float value;
};

TEST(CheckpointRead, EveryTypeBecomesFloat) {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<TypeCase> cases = {
      {"DoubleStorage", little(0x3FF0000000000001, 8), 1.0f},
      {"FloatStorage", little(0x00000001, 4), std::numeric_limits<float>::denorm_min()},
      {"HalfStorage", little(0x3555, 2), 0x1.554p-2f},
      {"HalfStorage", little(0x0001, 2), 0x1p-24f},
      {"HalfStorage", little(0x83FF, 2), -0x1.FF8p-15f},
      {"HalfStorage", little(0x7BFF, 2), 65504.0f},
      {"HalfStorage", little(0xFC00, 2), -infinity},
      {"BFloat16Storage", little(0xC0A0, 2), -5.0f},
      {"LongStorage", little(static_cast<uint64_t>(-3), 8), -3.0f},
      {"LongStorage", little(16777217, 8), 16777216.0f},
      {"IntStorage", little(0x80000000, 4), -2147483648.0f},
      {"ShortStorage", little(0x8000, 2), -32768.0f},
      {"CharStorage", "\x80", -128.0f},
      {"ByteStorage", "\x80", 128.0f},
      {"BoolStorage", "\x01", 1.0f},
  };
  for (const TypeCase& c : cases) {
    const Checkpoint checkpoint =
        read(torch_zip(tensor(storage(c.storage_class, "0", 1), 0, {1}, {1}), {{"0", c.bytes}}));
    EXPECT_EQ(values_of(checkpoint, ""), Values{c.value}) << c.storage_class;
  }
}

TEST(CheckpointRead, NumbersThatFloatCannotHoldAreErrors) {
  const Checkpoint checkpoint =
      read(torch_zip(dict({{text("big"), tensor(storage("DoubleStorage", "0", 1), 0, {1}, {1})}}),
                     {{"0", little(0x7FE0000000000000, 8)}}));
  EXPECT_THROW(values_of(checkpoint, "big"), Error);
}

// Every half-precision number, against the formula.
TEST(CheckpointRead, AllHalfs) {
  std::string halfs;
  for (uint32_t bits = 0; bits < 65536; ++bits) halfs += little(bits, 2);
  const Checkpoint checkpoint =
      read(torch_zip(tensor(storage("HalfStorage", "0", 65536), 0, {65536}, {1}), {{"0", halfs}}));
  const Values values = values_of(checkpoint, "");
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const int exponent = static_cast<int>(bits >> 10 & 31),
              fraction = static_cast<int>(bits & 1023);
    const float sign = bits >> 15 != 0 ? -1.0f : 1.0f;
    if (exponent == 31) {
      EXPECT_TRUE(fraction == 0 ? std::isinf(values[bits]) : std::isnan(values[bits])) << bits;
      continue;
    }
    const float expected = exponent == 0
                               ? std::ldexp(static_cast<float>(fraction), -24)
                               : std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
    EXPECT_EQ(values[bits], sign * expected) << bits;
  }
}

TEST(CheckpointRead, NamesAreDottedPaths) {
  const std::string t = tensor(kStorage, 0, {1}, {1});
  const std::string file = torch_zip(
      dict({{text("epoch"), integer(3)},
            {text("list"), list({t, tuple({t})})},
            {text("dict"), dict({{integer(7), t}, {text("a.b"), t}, {"\x88", t}, {"N", t}})},
            {text("ordered"),
             ordered_dict({{text("x"), t}}) + dict({{text("_metadata"), dict({})}}) + "b"},
            {text("nothing"), "N"}}),
      {{"0", kSix}});
  EXPECT_EQ(names_of(read(file)), (Names{"list.0", "list.1.0", "dict.7", "dict.a.b", "dict.True",
                                         "dict.None", "ordered.x"}));
}

TEST(CheckpointRead, ARepeatedKeyHasItsLastValue) {
  const std::string first = tensor(kStorage, 0, {1}, {1}), second = tensor(kStorage, 5, {1}, {1});
  const Checkpoint checkpoint = read(torch_zip(
      dict({{text("a"), first}, {text("b"), first}, {text("a"), second}}), {{"0", kSix}}));
  EXPECT_EQ(names_of(checkpoint), (Names{"a", "b"}));
  EXPECT_EQ(values_of(checkpoint, "a"), Values{5});
}

TEST(CheckpointRead, ModulesAreListedAsStateDicts) {
  const Checkpoint checkpoint = read(yolo_module());
  EXPECT_EQ(names_of(checkpoint), (Names{"model.model.0.conv.weight", "model.model.0.bn.weight",
                                         "model.model.0.bn.running_mean", "model.model.24.anchors",
                                         "model.model.24.m.0.weight"}));
  const auto& attributes = checkpoint.attributes;
  EXPECT_EQ(attributes.at("model.model.0.bn.eps").numbers, std::vector<double>{0.001});
  EXPECT_EQ(attributes.at("model.names").texts, (Names{"cat", "dog"}));
  EXPECT_EQ(attributes.at("model.save").numbers, (std::vector<double>{4, 6}));
  EXPECT_EQ(attributes.at("model.yaml.nc").numbers, std::vector<double>{2});
  EXPECT_EQ(attributes.at("model.__class__").texts, Names{"models.yolo.DetectionModel"});
  ASSERT_EQ(checkpoint.attribute_tensors.size(), 1u);
  EXPECT_EQ(checkpoint.attribute_tensors[0].name, "model.model.24.stride");
}

TEST(CheckpointRead, ScriptModulesListWhatTheirCodeDeclares) {
  const Checkpoint checkpoint = read(torch_script());
  EXPECT_EQ(checkpoint.format, "TorchScript");
  EXPECT_EQ(names_of(checkpoint), (Names{"-1.weight", "-1.steps"}));
}

// PyTorch before 1.5 did not declare buffers; objects that are no modules are in no state dict.
TEST(CheckpointRead, OldScriptModulesListAllTensors) {
  const std::string t = tensor(kStorage, 0, {2}, {1});
  const std::string tuple_like = object(global("__torch__", "Pair"), dict({{text("x"), t}}));
  const std::string root =
      object(global("__torch__", "Root"),
             dict({{text("weight"), t}, {text("running_mean"), t}, {text("pair"), tuple_like}}));
  const std::string file = zip({{"m/data.pkl", pickle(root)},
                                {"m/data/0", kSix},
                                {"m/constants.pkl", pickle(")")},
                                {"m/code/__torch__.py",
                                 "class Root(Module):\n  __parameters__ = [\"weight\", ]\n"
                                 "class Pair(NamedTuple):\n  x : Tensor\n"}});
  EXPECT_EQ(names_of(read(file)), (Names{"weight", "running_mean"}));
}

// Numbers and texts in letters, and lists that are built from a mark.
TEST(CheckpointRead, ProtocolZeroIsRead) {
  const std::string shape = "(I2\nL3L\nt", strides = "(I3\nI1\nt";
  const std::string value = "(dp0\nVcaf\\u00e9\np1\n(lp2\n" +
                            global("torch._utils", "_rebuild_tensor") + "(" + kStorage + "I0\n" +
                            shape + strides + "tRaNaF1.5\naI01\naS'it\\'s'\nas";
  const Checkpoint checkpoint = read(torch_zip(value, {{"0", kSix}}));
  EXPECT_EQ(names_of(checkpoint), Names{"caf\u00e9.0"});
  EXPECT_EQ(checkpoint.tensors[0].shape, (std::vector<uint64_t>{2, 3}));
}

TEST(CheckpointRead, LegacyStreamsHoldViewsOfStorages) {
  const std::string view =
      tuple({text("storage"), global("torch", "FloatStorage"), text("9"), text("cuda:0"),
             integer(6), tuple({text("10"), integer(2), integer(3)})}) +
      "Q";
  const Checkpoint checkpoint = read(
      torch_legacy(dict({{text("part"), tensor(view, 1, {2}, {1})}}), {"9"}, little(6, 8) + kSix));
  EXPECT_EQ(values_of(checkpoint, "part"), (Values{3, 4}));
}

TEST(CheckpointRead, SafetensorsAreRowMajor) {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"I64","shape":[],"data_offsets":[8,16]},)"
      R"("\u00e9":{"dtype":"BF16","shape":[2,2],"data_offsets":[0,8]}})";
  const Checkpoint checkpoint =
      read(safetensors(header, std::string("\x80\x3f\x00\x40\x40\x40\x80\x40", 8) + little(42, 8)));
  EXPECT_EQ(values_of(checkpoint, "b"), Values{42});
  EXPECT_EQ(values_of(checkpoint, "\u00e9"), (Values{1, 2, 3, 4}));
}

TEST(CheckpointRead, TheModuleThatTorchCompileWrapsIsRead) {
  const std::string inner =
      module(global("torch.nn.modules.linear", "Linear"),
             dict({{text("weight"), tensor(kStorage, 0, {6}, {1})}}), dict({}), dict({}), {});
  const std::string compiled =
      call(global("torch._dynamo.eval_frame", "OptimizedModule"), {inner, text("its context")});
  const Checkpoint checkpoint = read(torch_zip(dict({{text("model"), compiled}}), {{"0", kSix}}));
  EXPECT_EQ(names_of(checkpoint), Names{"model.weight"});
}

TEST(CheckpointRead, TensorsOfDevicesWithoutStoragesAreRead) {
  const std::string xla = call(
      global("torch._utils", "_rebuild_device_tensor_from_cpu_tensor"),
      {tensor(kStorage, 0, {2, 3}, {3, 1}), global("torch", "float32"), text("xla:0"), integer(0)});
  const Checkpoint checkpoint = read(torch_zip(dict({{text("w"), xla}}), {{"0", kSix}}));
  EXPECT_EQ(values_of(checkpoint, "w"), (Values{0, 1, 2, 3, 4, 5}));
}

TEST(CheckpointRead, SecondNamesInSafetensorsMetadataAreRead) {
  const std::string one = R"("a.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  for (const std::string& header :
       {R"({"__metadata__":{"format":"pt","b.weight":"a.weight","c":"nothing"},)" + one + "}",
        "{" + one + R"(,"__metadata__":{"b.weight":"a.weight","a.weight":"a.weight"}})"}) {
    const Checkpoint checkpoint = read(safetensors(header, floats({3, 4})));
    EXPECT_EQ(names_of(checkpoint), (Names{"a.weight", "b.weight"})) << header;
    EXPECT_EQ(values_of(checkpoint, "b.weight"), (Values{3, 4}));
  }
}

// A tensor of many dimensions takes much more memory than a second name takes of the header.
TEST(CheckpointRead, SecondNamesAreBoundedByTheHeader) {
  std::string shape = "1", metadata;
  for (int i = 1; i < 64; ++i) shape += ",1";
  for (int i = 0; i < 100'000; ++i) {
    metadata += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":\"a\"";
  }
  const std::string header = "{\"__metadata__\":{" + metadata +
                             "},\"a\":{\"dtype\":\"F32\",\"shape\":[" + shape +
                             "],\"data_offsets\":[0,4]}}";
  try {
    read(safetensors(header, floats({3})));
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("bytes of tensors' second names, the limit"),
              std::string::npos)
        << error.what();
  }
}

TEST(CheckpointRead, ExportedProgramsAreNamed) {
  for (const std::vector<ZipMember>& members :
       {std::vector<ZipMember>{{"ep/models/model.json", "{}"}, {"ep/archive_format", "pt2"}},
        {{"version", "5.1"}, {"serialized_exported_program.json", "{}"}}}) {
    try {
      read(zip(members));
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      const std::string words = error.what();
      EXPECT_NE(words.find("torch.export (.pt2)"), std::string::npos) << words;
      EXPECT_EQ(words.find("TorchScript"), std::string::npos) << words;
    }
  }
}

TEST(CheckpointRead, ShardsAreMerged) {
  const TemporaryFolder folder;
  std::ofstream(folder / "shard-1.safetensors", std::ios::binary)
      << safetensors(R"({"a":{"dtype":"F32","shape":[6],"data_offsets":[0,24]}})", kSix);
  std::ofstream(folder / "shard-2.bin", std::ios::binary)
      << torch_zip(dict({{text("b"), tensor(kStorage, 3, {3}, {1})}}), {{"0", kSix}});
  std::ofstream(folder / "model.index.json")
      << R"({"weight_map":{"a":"shard-1.safetensors","b":"shard-2.bin"}})";
  const Checkpoint checkpoint = open_checkpoint(folder / "model.index.json");
  EXPECT_EQ(values_of(checkpoint, "a"), (Values{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(values_of(checkpoint, "b"), (Values{3, 4, 5}));
}

TEST(CheckpointRead, ListsAliasesAndChecksums) {
  const std::string a = tensor(kStorage, 0, {2, 3}, {3, 1});
  const std::string file = torch_zip(dict({{text("a"), a + "q\x01"},
                                           {text("tied"), "h\x01"},
                                           {text("again"), a},
                                           {text("turned"), tensor(kStorage, 0, {3, 2}, {1, 3})}}),
                                     {{"0", kSix}});
  const auto json = nlohmann::json::parse(list_tensors(read(file), ListStyle::kJson));
  const uint32_t crc = crc32(kSix.data(), kSix.size());
  const std::string turned = floats({0, 3, 1, 4, 2, 5});
  EXPECT_EQ(json,
            nlohmann::json({{{"name", "a"}, {"dtype", "f32"}, {"shape", {2, 3}}, {"crc32", crc}},
                            {{"name", "tied"},
                             {"dtype", "f32"},
                             {"shape", {2, 3}},
                             {"crc32", crc},
                             {"same_as", "a"}},
                            {{"name", "again"},
                             {"dtype", "f32"},
                             {"shape", {2, 3}},
                             {"crc32", crc},
                             {"same_as", "a"}},
                            {{"name", "turned"},
                             {"dtype", "f32"},
                             {"shape", {3, 2}},
                             {"crc32", crc32(turned.data(), turned.size())}}}));
  const std::string table = list_tensors(read(file), ListStyle::kTable);
  EXPECT_NE(table.find("tied    f32    [2, 3]"), std::string::npos) << table;
  EXPECT_NE(table.find("4 tensors, 12 values"), std::string::npos) << table;
}

TEST(CheckpointRead, FilesThatAreNoRegularFilesAreNamed) {
  const auto error_of = [](const std::string& path) -> std::string {
    try {
      open_checkpoint(path);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(error_of("/").find("is a folder"), std::string::npos);
  EXPECT_NE(error_of("/dev/zero").find("not a regular file"), std::string::npos);
  EXPECT_NE(error_of("/no/such/file.pt").find("cannot open the file: No such file"),
            std::string::npos);
}

// --- hostile ones ---

// The classic: unpickling this in Python runs a command. Here it is a name and a text.
TEST(CheckpointHostile, CommandsAreNotRun) {
  const TemporaryFolder folder;
  const std::string marker = folder / "was_here";
  for (const char* name : {"system", "popen"}) {
    const std::string attack = call(global("os", name), {text("touch " + marker)});
    const std::string file = torch_zip(
        dict({{text("w"), tensor(kStorage, 0, {6}, {1})}, {text("x"), attack}}), {{"0", kSix}});
    EXPECT_EQ(values_of(read(file), "w"), (Values{0, 1, 2, 3, 4, 5}));
  }
  const std::string built =
      object(global("torch.nn", "Module"), call(global("os", "system"), {text("touch " + marker)}));
  EXPECT_EQ(names_of(read(torch_zip(built, {}))), Names{});
  EXPECT_FALSE(std::ifstream(marker).good());
}

// Deep graphs are read, walked and freed without recursion.
TEST(CheckpointHostile, NestingNeedsNoStack) {
  constexpr size_t kLevels = 1'000'000;
  const std::string lists =
      std::string(kLevels, ']') + tensor(kStorage, 0, {6}, {1}) + std::string(kLevels, 'a');
  EXPECT_EQ(names_of(read(torch_zip(lists, {{"0", kSix}}))).at(0).size(), 2 * kLevels - 1);
  const std::string tuples = std::string(kLevels, '(') + std::string(kLevels, 't');
  EXPECT_EQ(names_of(read(torch_zip(tuples, {}))), Names{});
}

TEST(CheckpointHostile, CyclesEnd) {
  const std::string t = tensor(kStorage, 0, {6}, {1});
  // A list that holds itself, and a dictionary that holds a list that holds the dictionary.
  EXPECT_EQ(names_of(read(torch_zip("]q\x01h\x01"
                                    "a" +
                                        t + "a",
                                    {{"0", kSix}}))),
            Names{"1"});
  EXPECT_EQ(names_of(read(torch_zip("}q\x01" + text("self") +
                                        "]h\x01"
                                        "as" +
                                        text("t") + t + "s",
                                    {{"0", kSix}}))),
            Names{"t"});
  // A Parameter that is its own data.
  const std::string loop = global("torch.nn.parameter", "Parameter") + ")\x81q\x01(h\x01tb";
  EXPECT_THROW(read(torch_zip(loop, {})), Error);
}

// --- the parts ---

TEST(Crc32, IsZlibs) {
  EXPECT_EQ(crc32("123456789", 9), 0xCBF43926u);
  EXPECT_EQ(crc32("", 0), 0u);
  std::string bytes;
  for (int i = 0; i < 300; ++i) bytes.push_back(static_cast<char>(i * 7));
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    EXPECT_EQ(crc32(bytes.data() + cut, bytes.size() - cut, crc32(bytes.data(), cut)),
              crc32(bytes.data(), bytes.size()));
  }
}

TEST(Sha256, MatchesTheStandardsExamples) {
  EXPECT_EQ(sha256_hex({}), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex(as_bytes("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex(as_bytes("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_hex(as_bytes(std::string(1'000'000, 'a'))),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Inflate, StoredFixedAndTruncated) {
  // By Python's zlib: "hello hello hello hello" with the fixed code, 300 bytes stored.
  const std::string fixed = "\xcb\x48\xcd\xc9\xc9\x57\xc8\x40\x27\x01";
  std::string out(23, '?');
  const auto writable = [](std::string& s) {
    return std::span<uint8_t>(reinterpret_cast<uint8_t*>(s.data()), s.size());
  };
  EXPECT_TRUE(inflate(as_bytes(fixed), writable(out)));
  EXPECT_EQ(out, "hello hello hello hello");
  for (size_t size = 0; size < fixed.size(); ++size) {
    EXPECT_FALSE(inflate(as_bytes(fixed.substr(0, size)), writable(out))) << size;
  }
  std::string shorter(22, '?'), longer(24, '?');
  EXPECT_FALSE(inflate(as_bytes(fixed), writable(shorter)));
  EXPECT_FALSE(inflate(as_bytes(fixed), writable(longer)));
  const std::string stored = std::string("\x01\x03\x00\xfc\xff", 5) + "abc";
  std::string three(3, '?');
  EXPECT_TRUE(inflate(as_bytes(stored), writable(three)));
  EXPECT_EQ(three, "abc");
}

}  // namespace
}  // namespace lightcap::internal::testing
