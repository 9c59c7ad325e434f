// Small files that ask for much. Each takes memory and time in proportion to its bytes, and gives
// an answer or an error that names a limit.
#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <new>

#include "engine/runtime/error.h"
#include "tests/checkpoint_files.h"
#include "weights_converter/list.h"
#include "weights_converter/state_dict.h"

namespace {

std::atomic<size_t> held = 0, most_held = 0;

void* counted(size_t bytes) {
  void* memory = std::malloc(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  const size_t now = held += malloc_usable_size(memory);
  if (now > most_held) most_held = now;
  return memory;
}

void uncounted(void* memory) {
  if (memory != nullptr) held -= malloc_usable_size(memory);
  std::free(memory);
}

}  // namespace

void* operator new(size_t bytes) { return counted(bytes); }
void* operator new[](size_t bytes) { return counted(bytes); }
void operator delete(void* memory) noexcept { uncounted(memory); }
void operator delete[](void* memory) noexcept { uncounted(memory); }
void operator delete(void* memory, size_t) noexcept { uncounted(memory); }
void operator delete[](void* memory, size_t) noexcept { uncounted(memory); }

namespace lightcap::internal::testing {
namespace {

// The limits that `lightcap-convert` promises for any checkpoint.
constexpr size_t kMostBytes = size_t{256} << 20, kMostBytesPerByte = 20;
constexpr double kMostSeconds = 5;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr double kSlower = 20;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr double kSlower = 20;
#else
constexpr double kSlower = 1;
#endif
#else
constexpr double kSlower = 1;
#endif

struct Bomb {
  const char* name;
  std::function<std::string()> make;
};

void PrintTo(const Bomb& bomb, std::ostream* out) { *out << bomb.name; }

// --- pieces ---

std::string times(std::string_view piece, size_t count) {
  std::string result;
  result.reserve(piece.size() * count);
  for (size_t i = 0; i < count; ++i) result += piece;
  return result;
}
std::string keep(uint8_t number) { return {'q', static_cast<char>(number)}; }
std::string get(uint8_t number) { return {'h', static_cast<char>(number)}; }

std::string stored(const std::string& value) { return torch_zip(value, {{"0", floats({1})}}); }
std::string packed(const std::string& value) {
  return zip({deflated_member("archive/data.pkl", pickle(value)), {"archive/data/0", floats({1})}});
}
std::string one_float(const std::vector<int64_t>& shape = {1}) {
  return tensor(storage("FloatStorage", "0", 1), 0, shape, std::vector<int64_t>(shape.size(), 1));
}
const std::string kLong(200'000, 'k');

// A list of what the memo has under 0, `count` times. Before it is a list of empty lists, so that
// the pickle has values enough for that many uses of one.
std::string many_of(const std::string& value, size_t count) {
  const std::string filler = "(" + times("]", count / 16) + "l";
  return list({filler, value + keep(0) + "0", times(get(0), count)});
}

std::string script(const std::string& root, const std::string& file, const std::string& code) {
  return zip({{"m/data.pkl", pickle(root)},
              {"m/data/0", floats({1})},
              {"m/constants.pkl", pickle(")")},
              {"m/code/" + file + ".py", code}});
}

std::string od_pairs(size_t pairs, size_t uses) {
  const std::string pair = tuple({text("k"), one_float()});
  return list({list({pair + keep(1), times(get(1), pairs)}) + keep(0) + "0",
               times("ccollections\nOrderedDict\nh\x01"
                     "0h" +
                         std::string(1, '\0') + "\x85R",
                     uses)});
}

// --- pickles: texts ---

std::vector<Bomb> text_bombs() {
  return {
      {"StackGlobalOfOneLongText",
       [] {
         return stored(
             list({text(kLong) + keep(0) + "0", times(get(0) + get(0) + "\x93", 300'000)}));
       }},
      {"StackGlobalAtTheLimitOfAName",
       [] {
         return stored(list({text(std::string(500, 'k')) + keep(0) + "0",
                             times(get(0) + get(0) + "\x93", 300'000)}));
       }},
      {"ClassNameForEachPath",
       [] {
         const std::string none = dict({});
         const std::string type = global("m", std::string(1000, 'c'));
         return stored(many_of(module(type, none, none, none, {}), 300'000));
       }},
      {"LongClassName",
       [] {
         const std::string none = dict({});
         return stored(many_of(module(global("m", kLong), none, none, none, {}), 20'000));
       }},
      {"LongNameOfAnAttributeTensor",
       [] {
         const std::string none = dict({});
         return stored(many_of(
             module(global("m", "C"), none, none, none, {{text(kLong), one_float()}}), 20'000));
       }},
      {"LongNameOfAnAttributeOfNoUse",
       [] {
         const std::string none = dict({});
         return stored(
             many_of(module(global("m", "C"), none, none, none, {{text(kLong), "N"}}), 300'000));
       }},
      {"LongTextInAttributes",
       [] {
         const std::string none = dict({});
         return stored(
             module(global("m", "C"), none, none, none,
                    {{text("names"), list({text(kLong) + keep(0), times(get(0), 300'000)})}}));
       }},
      {"LongKeyOfNothing",
       [] {
         return stored(many_of(dict({{text(kLong), "]"}}), 400'000));
       }},
      {"LongKeysOfTensors",
       [] {
         return stored(many_of(dict({{text(kLong), one_float()}}), 20'000));
       }},
      {"LongKeyOfAStorage",
       [] {
         const std::string stored_at = storage("FloatStorage", kLong, 1);
         return stored(many_of(tensor(stored_at, 0, {1}, {1}), 20'000));
       }},
      {"TwoLongKeysByTurns",  // equal to the last byte
       [] {
         const std::string a = kLong + "a", b = kLong + "b";
         return stored("}(" + text(a) + keep(0) + "N" + text(a) + keep(1) + "N" + text(b) +
                       keep(2) + "N" + times(get(0) + "N" + get(1) + "N" + get(2) + "N", 100'000) +
                       "u");
       }},
      {"NamesOfTransientBuffers",
       [] {
         const std::string names = list(
             {text(kLong) + keep(0), text(kLong + "b") + keep(1), times(get(0) + get(1), 100'000)});
         const std::string set = call(global("builtins", "set"), {names});
         const std::string none = dict({});
         const std::string one = module(global("m", "C"), none, dict({{text(kLong), one_float()}}),
                                        none, {{text("_non_persistent_buffers_set"), set}});
         return stored(many_of(one, 1000));
       }},
  };
}

// --- pickles: values ---

std::vector<Bomb> value_bombs() {
  return {
      {"Aliases", [] { return stored(many_of(one_float(), 1'000'000)); }},
      {"AliasesOfManyDimensions",
       [] { return stored(many_of(one_float(std::vector<int64_t>(64, 1)), 1'000'000)); }},
      {"AliasesOfARefusedTensor",
       [] {
         return stored(many_of(
             call(global("torch._utils", "_rebuild_" + std::string(900, 'x')), {}), 500'000));
       }},
      {"AliasesOfANameOfALongFirst",  // whose name stands in each line of the list
       [] {
         return stored(dict({{text(std::string(20'000, 'n')), one_float() + keep(0)},
                             {text("l"), list({times(get(0), 200'000)})}}));
       }},
      {"ListsByTheMillion", [] { return stored("(" + times("]", 4'000'000) + "l"); }},
      {"NestedLists", [] { return stored(times("](", 1'000'000) + times("e", 1'000'000)); }},
      {"NestedTuples", [] { return stored("N" + times("\x85", 4'000'000)); }},
      {"NestedNames",
       [] { return stored(times("}(" + text("abc"), 200'000) + "N" + times("u", 200'000)); }},
      {"NestedNamesWithTensors",
       [] {
         return stored(one_float() + keep(0) + "0" +
                       times("}(" + text("a") + get(0) + text("b"), 100'000) + "N" +
                       times("u", 100'000));
       }},
      {"OpenMarks", [] { return stored(times("(", 8'000'000)); }},
      {"NumbersInAList", [] { return stored("(" + times("K\x01", 4'000'000) + "l"); }},
      {"FloatsInAList",
       [] { return stored("(" + times("G" + std::string(8, '\0'), 1'000'000) + "l"); }},
      {"MemoNumbers",
       [] {
         std::string value = "(";
         for (size_t i = 1; i < 1'000'000; ++i) value += "Nr" + little(6 * i, 4);
         return stored(value + "t");
       }},
      {"DuplicatedTops", [] { return stored("(N" + times("2", 8'000'000) + "t"); }},
      {"PairsOfOrderedDicts", [] { return stored(od_pairs(200'000, 20'000)); }},
      {"PairsOfOrderedDictsDeflated", [] { return packed(od_pairs(100'000, 10'000)); }},
      {"StateThatRepeatsAKey",
       [] {
         const std::string state =
             "}(" + text("k") + keep(1) + "N" + times(get(1) + "N", 200'000) + "u";
         return stored(list({state + keep(0) + "0", global("m", "C") + keep(2) + "0",
                             times(get(2) + ")\x81" + get(0) + "b", 50'000)}));
       }},
      {"ShapeOfAMillion",
       [] {
         const std::string shape = tuple({times("K\x01", 300'000)}) + keep(0) + "0";
         const std::string one =
             call(global("torch._utils", "_rebuild_tensor_v2"),
                  {storage("FloatStorage", "0", 1), "K" + std::string(1, '\0'), get(0), get(0)});
         return stored(list({shape, one + keep(1), times(get(1), 50'000)}));
       }},
      {"WideColumnOfShapes",  // the widest shape is the column's width
       [] {
         std::vector<int64_t> shape(64, INT64_MAX);
         shape[0] = 0;
         return stored(list({one_float() + keep(0), one_float(shape), times(get(0), 50'000)}));
       }},
      {"ElementsInManyDimensions",  // of size 1, behind one that repeats an element
       [] {
         std::vector<int64_t> shape(64, 1), strides(64, 1);
         shape[0] = int64_t{1} << 26;
         strides[0] = 0;
         return stored(tensor(storage("FloatStorage", "0", 1), 0, shape, strides));
       }},
  };
}

// --- archives ---

std::string safetensors_of(size_t count, const std::string& dtype) {
  std::string header = "{";
  for (size_t i = 0; i < count; ++i) {
    header += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":{\"dtype\":\"" + dtype +
              "\",\"shape\":[0],\"data_offsets\":[0,0]}";
  }
  return safetensors(header + "}", "");
}

std::string tar_of(size_t storages, size_t views, size_t tensors) {
  std::string kept = pickle(integer(static_cast<int64_t>(storages)));
  for (size_t i = 0; i < storages; ++i) {
    kept += pickle(
        tuple({integer(static_cast<int64_t>(i)), text("cpu"), global("torch", "FloatStorage")}));
    kept += little(0, 8);
  }
  std::string list_of_views = "](";
  for (size_t i = 0; i < views; ++i) {
    list_of_views +=
        tuple({integer(static_cast<int64_t>(storages + i)), integer(0), integer(0), integer(0)});
  }
  kept += pickle(list_of_views + "e");
  std::string described = pickle(integer(static_cast<int64_t>(tensors)));
  for (size_t i = 0; i < tensors; ++i) {
    described += pickle(tuple({integer(static_cast<int64_t>(i)), integer(0)})) + little(1, 4) +
                 little(0, 4) + little(0, 8) + little(1, 8) + little(0, 8);
  }
  return tar({{"pickle", pickle(many_of(integer(1) + "Q", 100'000))},
              {"tensors", described},
              {"storages", kept}});
}

std::vector<Bomb> archive_bombs() {
  return {
      {"ZipEntriesByTheHundredThousand",
       [] {
         std::vector<ZipMember> members = {{"a/data.pkl", pickle("N")}};
         for (size_t i = 0; i < 300'000; ++i) members.push_back({std::to_string(i), ""});
         return zip(members);
       }},
      {"DeflatedPickle",
       [] {
         const std::string begin = "\x80\x02](";
         const size_t repeats = 100'000;
         const std::string data = deflated(begin + "]", repeats);
         return zip({{"a/data.pkl", data, 8, begin.size() + 1 + 258 * repeats}});
       }},
      {"DeflatedStorageOfZeros",
       [] {
         const size_t repeats = 4'000'000;
         return zip(
             {{"archive/data.pkl", pickle(tensor(storage("FloatStorage", "0", 1), 0, {1}, {1}))},
              {"archive/data/0", deflated(std::string(1, '\0'), repeats), 8, 1 + 258 * repeats}});
       }},
      {"DeflatedStoragesInSum",
       [] {
         std::vector<ZipMember> members;
         std::string value = "](";
         const size_t repeats = 80'000;
         const std::string data = deflated(std::string(1, '\0'), repeats);
         for (size_t i = 0; i < 50; ++i) {
           const std::string key = std::to_string(i);
           value += tensor(storage("ByteStorage", key, 1 + 258 * repeats), 0, {1}, {1});
           members.push_back({"a/data/" + key, data, 8, 1 + 258 * repeats});
         }
         members.push_back({"a/data.pkl", pickle(value + "e")});
         return zip(members);
       }},
      {"DeflatedCodeInSum",
       [] {
         std::vector<ZipMember> members = {{"m/data.pkl", pickle("N")},
                                           {"m/constants.pkl", pickle(")")}};
         const size_t repeats = 4000;
         const std::string data = deflated("\n", repeats);
         for (size_t i = 0; i < 500; ++i) {
           members.push_back({"m/code/" + std::to_string(i) + ".py", data, 8, 1 + 258 * repeats});
         }
         return zip(members);
       }},
      {"ScriptClassesInALongFile",
       [] {
         std::string code;
         for (size_t i = 0; i < 50'000; ++i) code += "class C" + std::to_string(i) + "(Module):\n";
         return script("N", std::string(60'000, 'f'), code);
       }},
      {"ScriptClassesAtTheLimitOfAName",
       [] {
         std::string code;
         for (size_t i = 0; i < 200'000; ++i) code += "class C" + std::to_string(i) + "(Module):\n";
         return script("N", std::string(1000, 'f'), code);
       }},
      {"ScriptParameters",
       [] {
         return script("N", "f",
                       "class C(Module):\n  __parameters__ = [" + times("\"\",", 500'000) + "]\n");
       }},
      {"ScriptObjectsOfALongName",
       [] {
         const std::string code = "class C(Module):\n  __parameters__ = [\"" + kLong + "\"]\n";
         const std::string one = object(global("f", "C"), dict({{text(kLong), one_float()}}));
         return script(many_of(one, 100'000), "f", code);
       }},
      {"LegacyKeys",
       [] {
         const std::string one = tuple({text("storage"), global("torch", "FloatStorage"),
                                        text(kLong), text("cpu"), integer(1)});
         return torch_legacy(list({one + keep(0) + "0", times(get(0) + "Q", 500'000)}), {}, "");
       }},
      {"LegacyStorages",
       [] {
         std::string value = "](" + text("storage") +
                             "q\x01"
                             "0" +
                             global("torch", "FloatStorage") +
                             "q\x02"
                             "0" +
                             text("cpu") +
                             "q\x03"
                             "0";
         std::vector<std::string> keys;
         for (size_t i = 0; i < 100'000; ++i) {
           keys.push_back(std::to_string(i));
           value += "(h\x01h\x02" + text(keys.back()) + "h\x03K" + std::string(1, '\0') + "tQ";
         }
         return torch_legacy(value + "e", keys, std::string(8 * keys.size(), '\0'));
       }},
      {"TarMembers",
       [] {
         std::vector<std::pair<std::string, std::string>> members;
         for (size_t i = 0; i < 50'000; ++i) members.emplace_back(std::to_string(i), "");
         return tar(members);
       }},
      {"TarStorages", [] { return tar_of(100'000, 100'000, 1); }},
      {"TarTensors", [] { return tar_of(1, 0, 50'000); }},
      {"SafetensorsTensors", [] { return safetensors_of(150'000, "U8"); }},
      {"SafetensorsRefusedTensors", [] { return safetensors_of(100'000, std::string(200, 'x')); }},
      {"SafetensorsMetadata",
       [] {
         std::string header = R"({"__metadata__":{"":"")";
         for (size_t i = 0; i < 500'000; ++i) header += ",\"\":\"\"";
         return safetensors(header + "}}", "");
       }},
      {"SafetensorsLongMetadata",
       [] {
         return safetensors(R"({"__metadata__":{"a":")" + std::string(20'000'000, 'x') + "\"}}",
                            "");
       }},
      {"SafetensorsLongName",
       [] {
         return safetensors("{\"" + std::string(10'000'000, 'x') +
                                R"(":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})",
                            "");
       }},
      {"IndexNestedByTheMillion", [] { return "{\"weight_map\":" + times("[", 3'000'000); }},
      {"IndexOfMillionsOfNumbers", [] { return "{\"a\":[" + times("1,", 4'000'000) + "1]}"; }},
      {"IndexOfMillionsOfNames",
       [] {
         std::string index = R"({"weight_map":{"a":"s")";
         for (size_t i = 0; i < 300'000; ++i) index += ",\"" + std::to_string(i) + "\":\"s\"";
         return index + "}}";
       }},
  };
}

std::vector<Bomb> all_bombs() {
  std::vector<Bomb> all;
  for (const auto& group : {text_bombs(), value_bombs(), archive_bombs()}) {
    all.insert(all.end(), group.begin(), group.end());
  }
  return all;
}

// All that the converter does with a file before it writes anything.
std::string read_and_list(const std::string& file) {
  try {
    const Checkpoint checkpoint = read_checkpoint(as_bytes(file), "/nonexistent/file.pt");
    list_tensors(checkpoint, ListStyle::kTable);
    list_tensors(checkpoint, ListStyle::kJson);
    for (const Role role : {Role::kImageEncoder, Role::kDetector, Role::kBert, Role::kLightcap}) {
      try {
        find_state_dict(checkpoint, role);
      } catch (const Error&) {
      }
    }
    return "an answer";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCheckpoint) << error.what();
    return error.what();
  }
}

class CheckpointBomb : public ::testing::TestWithParam<Bomb> {};

TEST_P(CheckpointBomb, TakesWhatItsSizeAllows) {
  const std::string file = GetParam().make();
  const size_t before = most_held = held.load();
  const std::clock_t began = std::clock();
  const std::string outcome = read_and_list(file);
  const double seconds = static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC;
  const size_t bytes = most_held - before;
  EXPECT_LE(bytes, kMostBytes + kMostBytesPerByte * file.size()) << outcome;
  EXPECT_LE(seconds, kMostSeconds * kSlower) << outcome;
  RecordProperty("bytes_of_file", std::to_string(file.size()));
  RecordProperty("bytes_held", std::to_string(bytes));
  RecordProperty("seconds", std::to_string(seconds));
  RecordProperty("outcome", outcome.substr(0, 200));
}

INSTANTIATE_TEST_SUITE_P(All, CheckpointBomb, ::testing::ValuesIn(all_bombs()),
                         [](const auto& test) { return std::string(test.param.name); });

// Not a test: writes the files above, to try programs on.
TEST(CheckpointBombs, WritesFiles) {
  const char* folder = std::getenv("LIGHTCAP_BOMBS");
  if (folder == nullptr) GTEST_SKIP() << "LIGHTCAP_BOMBS names no folder";
  std::filesystem::create_directories(folder);
  for (const Bomb& bomb : all_bombs()) {
    std::ofstream(std::filesystem::path(folder) / bomb.name, std::ios::binary) << bomb.make();
  }
}

}  // namespace
}  // namespace lightcap::internal::testing
