// The weights that a conversion takes of a file with several, and the lines that say where a model
// is from.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/conversion_files.h"
#include "weights_converter/checkpoint/mapped_file.h"
#include "weights_converter/sha256.h"

namespace lightcap::internal::testing {
namespace {

// The model twice, the second time with another value.
struct TwoCopies : ConversionFiles {
  TwoCopies(const std::string& first, const std::string& second) {
    TinyTensors changed = tensors, both = with_prefix(tensors, "", first);
    changed.at("head.bias").values[0] = 77;
    both.merge(with_prefix(changed, "", second));
    give(Role::kLightcap, both);
  }
};

void choose(ConversionFiles& files, const std::string& inside) {
  files.options.checkpoints[static_cast<size_t>(Role::kLightcap)] += ":" + inside;
}

TEST(Copies, TheOneTakenIsSaidAndRecorded) {
  TwoCopies files("state_dict.", "state_dict_ema.");
  const Conversion conversion(files.options);
  EXPECT_EQ(filled(conversion, "head.bias")[0], 77);
  ASSERT_EQ(conversion.notes().size(), 1u);
  expect_has(conversion.notes()[0],
             "the weights at state_dict_ema were taken, not those at state_dict; to choose: "
             "--lightcap ");
  expect_has(conversion.notes()[0], "lightcap.safetensors:state_dict");
  EXPECT_TRUE(sources_of(conversion)[0].ends_with(", weights at state_dict_ema"));
}

TEST(Copies, APathInTheFileChooses) {
  for (const auto& [inside, value] :
       {std::pair("state_dict", 0), std::pair("state_dict_ema", 77)}) {
    TwoCopies files("state_dict.", "state_dict_ema.");
    choose(files, inside);
    const Conversion conversion(files.options);
    EXPECT_EQ(filled(conversion, "head.bias")[0] == 77, value == 77) << inside;
    EXPECT_EQ(conversion.notes(), std::vector<std::string>());
    EXPECT_TRUE(sources_of(conversion)[0].ends_with(std::string(", weights at ") + inside));
  }
}

TEST(Copies, APathAnswersWhatTheFileLeavesOpen) {
  TwoCopies open("state_dict.student.", "state_dict.teacher.");
  expect_has(
      open.error(),
      "more than one part of a LightCap model, at 'state_dict.student.' and at "
      "'state_dict.teacher.'; choose one: --lightcap lightcap.safetensors:state_dict.student");
  choose(open, "state_dict.teacher");
  EXPECT_EQ(filled(Conversion(open.options), "head.bias")[0], 77);
}

TEST(Copies, TheTopIsADot) {
  TwoCopies files("", "ema.");
  EXPECT_EQ(filled(Conversion(files.options), "head.bias")[0], 77);
  choose(files, ".");
  const Conversion conversion(files.options);
  EXPECT_NE(filled(conversion, "head.bias")[0], 77);
  EXPECT_TRUE(sources_of(conversion)[0].ends_with(", weights at the top"));
}

TEST(Copies, APathThatIsNotInTheFileIsAnErrorThatNamesThoseThatAre) {
  TwoCopies files("student.", "teacher.");
  choose(files, "stud");
  expect_has(files.error(), "it has nothing at 'stud'; there is one at 'student', 'teacher'");
}

TEST(Copies, AColonInAFilesNameIsNoPath) {
  ConversionFiles files;
  files.give_whole();
  const std::string path = files.folder / "a:b";
  write_safetensors(path, files.tensors);
  files.options.checkpoints[static_cast<size_t>(Role::kLightcap)] = path;
  EXPECT_TRUE(sources_of(Conversion(files.options))[0].starts_with("lightcap: a:b, sha256 "));
  files.options.checkpoints[static_cast<size_t>(Role::kLightcap)] = files.folder / "no:b";
  expect_has(files.error(), "no:b: cannot open the file");
}

// ---- Shards ----

TEST(Sources, EveryShardHasItsHash) {
  ConversionFiles files;
  TinyTensors first = files.tensors, second;
  second.insert(first.extract("head.bias"));
  write_safetensors(files.folder / "1.safetensors", first);
  write_safetensors(files.folder / "2.safetensors", second);
  nlohmann::json index;
  for (const auto& [name, tensor] : first) index["weight_map"][name] = "1.safetensors";
  index["weight_map"]["head.bias"] = "2.safetensors";
  const std::string path = files.folder / "index.json";
  write_text(path, index.dump());
  files.options.checkpoints[static_cast<size_t>(Role::kLightcap)] = path;
  const std::vector<std::string> sources = sources_of(Conversion(files.options));
  ASSERT_EQ(sources.size(), 3u);
  const char* names[] = {"index.json", "1.safetensors", "2.safetensors"};
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(sources[i], std::string("lightcap: ") + names[i] + ", sha256 " +
                              sha256_of_file(*MappedFile::open(files.folder / names[i])));
  }
}

}  // namespace
}  // namespace lightcap::internal::testing
