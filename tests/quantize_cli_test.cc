// lightcap-quantize as users and scripts see it: exit codes, what goes to stdout, what stays on
// disk.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/small_model.h"
#include "tests/tiny_checkpoint.h"

namespace lightcap::internal::testing {
namespace {

class QuantizeCli : public ::testing::Test {
 protected:
  QuantizeCli() {
    std::filesystem::copy(LIGHTCAP_DEMO "/scenes.lcw", folder_ / "m.lcw");
    std::filesystem::copy(LIGHTCAP_DEMO "/pictures", folder_ / "pictures");
    before_ = read_file(folder_ / "m.lcw");
  }
  ~QuantizeCli() override {
    EXPECT_TRUE(read_file(folder_ / "m.lcw") == before_) << "the input has changed";
  }
  // Runs a program in the folder and returns its exit code.
  int run(const std::string& arguments, const std::string& program = LIGHTCAP_QUANTIZE) {
    const std::string command =
        "cd '" + (folder_ / "") + "' && '" + program + "' " + arguments + " >stdout 2>stderr";
    const int status = std::system(command.c_str());
    out_ = read_file(folder_ / "stdout");
    err_ = read_file(folder_ / "stderr");
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  bool exists(const std::string& name) const { return std::filesystem::exists(folder_ / name); }
  static bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  }

  TemporaryFolder folder_;
  std::string out_, err_, before_;
};

TEST_F(QuantizeCli, MakesAModelThatCaptions) {
  ASSERT_EQ(run("m.lcw pictures -o int8.lcw"), 0) << err_;
  EXPECT_EQ(out_, "");
  EXPECT_TRUE(has(err_, "int8.lcw: calibrated on 4 pictures, ")) << err_;
  EXPECT_FALSE(has(err_, "\r")) << "progress is for terminals";
  EXPECT_LT(read_file(folder_ / "int8.lcw").size(), before_.size() / 3);

  ASSERT_EQ(run("inspect --verify --json int8.lcw", LIGHTCAP_CLI), 0) << err_;
  const auto inspected = nlohmann::json::parse(out_);
  EXPECT_TRUE(has(out_, "\"quantization\": \"int8\"") || has(out_, "\"quantization\":\"int8\""));
  EXPECT_TRUE(has(out_, "model: m.lcw, sha256 ")) << out_.substr(0, 2000);
  EXPECT_TRUE(has(out_, "calibration: 4 pictures"));
  EXPECT_TRUE(has(out_, "lightcap-quantize "));

  ASSERT_EQ(run("caption --model m.lcw pictures", LIGHTCAP_CLI), 0) << err_;
  const std::string captions = out_;
  ASSERT_EQ(run("caption --model int8.lcw pictures", LIGHTCAP_CLI), 0) << err_;
  EXPECT_EQ(out_, captions);
}

TEST_F(QuantizeCli, TheSameTwice) {
  ASSERT_EQ(run("m.lcw pictures/room.png pictures/street.jpg -o a.lcw --threads 1"), 0) << err_;
  ASSERT_EQ(run("m.lcw 'pictures/[rs]*' pictures/room.png -o b.lcw --threads 2"), 0) << err_;
  EXPECT_TRUE(read_file(folder_ / "a.lcw") == read_file(folder_ / "b.lcw"));
  ASSERT_EQ(run("m.lcw pictures --count 1 -o c.lcw"), 0) << err_;
  EXPECT_FALSE(read_file(folder_ / "a.lcw") == read_file(folder_ / "c.lcw"));
}

TEST_F(QuantizeCli, Reports) {
  ASSERT_EQ(run("m.lcw pictures --count 2 --simulate --report r.json"), 0) << err_;
  EXPECT_TRUE(has(err_, "2 pictures that were not calibrated on")) << err_;
  const auto report = nlohmann::json::parse(read_file(folder_ / "r.json"));
  EXPECT_EQ(report["model"], "m.lcw");
  EXPECT_EQ(report["held_out"], true);
  EXPECT_EQ(report["calibration_pictures"], 2);
  EXPECT_EQ(report["report_pictures"], 2);
  EXPECT_GT(report["features_db"], 25);
  EXPECT_GT(report["boxes"], 2);
  EXPECT_EQ(report["boxes_found_again"], report["boxes"]);
  EXPECT_EQ(report["captions_changed"], 0);
  bool found = false;
  for (const auto& layer : report["layers"]) {
    if (layer["name"] != "image_encoder.layer2.0.conv2") continue;
    found = true;
    EXPECT_GT(layer["alone_db"], layer["all_db"]);
    EXPECT_GT(layer["all_db"], 20);
  }
  EXPECT_TRUE(found);
  ASSERT_EQ(run("m.lcw pictures -o int8.lcw --report s.json"), 0) << err_;
  EXPECT_TRUE(has(err_, "of the calibration")) << err_;
  EXPECT_EQ(nlohmann::json::parse(read_file(folder_ / "s.json"))["held_out"], false);
}

TEST_F(QuantizeCli, MadeUpPictures) {
  ASSERT_EQ(run("m.lcw --synthetic -o int8.lcw"), 0) << err_;
  EXPECT_TRUE(has(err_, "made-up pictures")) << err_;
  ASSERT_EQ(run("inspect int8.lcw", LIGHTCAP_CLI), 0) << err_;
  EXPECT_TRUE(has(out_, "calibration: 8 made-up pictures"));
}

TEST_F(QuantizeCli, HelpAndVersion) {
  EXPECT_EQ(run("--help"), 0);
  EXPECT_TRUE(has(out_, "--synthetic")) << out_;
  EXPECT_EQ(run("--version"), 0);
  EXPECT_TRUE(out_.starts_with("lightcap-quantize ")) << out_;
}

TEST_F(QuantizeCli, UsageErrorsAre2) {
  std::filesystem::create_hard_link(folder_ / "m.lcw", folder_ / "link.lcw");
  for (const char* arguments :
       {"", "m.lcw", "m.lcw -o o.lcw", "-o o.lcw", "m.lcw pictures", "m.lcw pictures -o m.lcw",
        "m.lcw pictures -o link.lcw", "m.lcw pictures -o pictures/room.png",
        "m.lcw pictures --synthetic -o o.lcw", "m.lcw pictures --simulate",
        "m.lcw pictures --simulate --report r.json -o o.lcw", "m.lcw pictures --count 0 -o o.lcw",
        "m.lcw pictures --report m.lcw -o o.lcw", "m.lcw pictures --report o.lcw -o o.lcw",
        "m.lcw pictures --report ./o.lcw -o o.lcw", "m.lcw pictures -o o.lcw --bogus",
        "m.lcw - -o o.lcw"}) {
    EXPECT_EQ(run(arguments), 2) << arguments << ": " << err_;
    EXPECT_EQ(out_, "");
    EXPECT_TRUE(err_.starts_with("lightcap-quantize: ")) << err_;
    EXPECT_FALSE(exists("o.lcw")) << arguments;
  }
  run("m.lcw -o o.lcw");
  EXPECT_TRUE(has(err_, "or --synthetic")) << "it says what to give: " << err_;
}

TEST_F(QuantizeCli, BadPicturesAre1) {
  write_text(folder_ / "pictures/broken.jpg", "not a picture");
  std::filesystem::create_directory(folder_ / "empty");
  write_text(folder_ / "o.lcw", "precious");
  for (const char* pictures : {"pictures", "pictures/broken.jpg", "no.jpg", "'*.png'", "empty"}) {
    EXPECT_EQ(run(std::string("m.lcw -o o.lcw ") + pictures), 1) << pictures << ": " << err_;
  }
  run("m.lcw -o o.lcw pictures");
  EXPECT_TRUE(has(err_, "pictures/broken.jpg: ")) << err_;
  EXPECT_EQ(read_file(folder_ / "o.lcw"), "precious");
}

TEST_F(QuantizeCli, BadModelsAre3) {
  write_text(folder_ / "text.lcw", "text");
  std::filesystem::copy(small_model_path(), folder_ / "small.lcw");
  ASSERT_EQ(run("m.lcw pictures -o int8.lcw"), 0) << err_;
  write_text(folder_ / "o.lcw", "precious");
  run("--version");
  const std::vector<std::string> before = folder_.files();
  for (const char* model : {"text.lcw", "no.lcw", "small.lcw", "int8.lcw"})
    EXPECT_EQ(run(std::string(model) + " pictures -o o.lcw"), 3) << model << ": " << err_;
  EXPECT_TRUE(has(err_, "int8.lcw: is an int8 model already")) << err_;
  run("small.lcw pictures -o o.lcw");
  EXPECT_TRUE(has(err_, "an int8 model needs multiples of 4")) << err_;
  EXPECT_EQ(read_file(folder_ / "o.lcw"), "precious");
  EXPECT_EQ(folder_.files(), before);
}

TEST_F(QuantizeCli, OutputErrorsAre7) {
  EXPECT_EQ(run("m.lcw pictures -o no/o.lcw"), 7) << err_;
  EXPECT_TRUE(has(err_, "no/o.lcw: ")) << err_;
  EXPECT_EQ(run("m.lcw pictures --simulate --report no/r.json"), 7) << err_;
  EXPECT_EQ(run("--help >/dev/full #"), 7) << err_;
}

}  // namespace
}  // namespace lightcap::internal::testing
