// lightcap-convert as users and scripts see it: exit codes, what goes to stdout, what stays on
// disk.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/tiny_checkpoint.h"

namespace lightcap::internal::testing {
namespace {

class ConvertCli : public ::testing::Test {
 protected:
  ConvertCli() {
    write_safetensors(folder_ / "whole.safetensors", tiny_tensors());
    write_text(folder_ / "vocab.txt", tiny_vocabulary(tiny_config().fusion.vocabulary));
    write_text(folder_ / "labels.txt", tiny_labels(tiny_config().concept_extractor.vocabulary));
  }
  // Runs the program in the folder and returns its exit code.
  int run(const std::string& arguments) {
    const std::string command =
        "cd '" + (folder_ / "") + "' && '" LIGHTCAP_CONVERT "' " + arguments + " >stdout 2>stderr";
    const int status = std::system(command.c_str());
    out_ = read_file(folder_ / "stdout");
    err_ = read_file(folder_ / "stderr");
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  static bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  }

  TemporaryFolder folder_;
  std::string out_, err_;
};

constexpr char kWhole[] = "--lightcap whole.safetensors --vocab vocab.txt --concepts labels.txt ";

TEST_F(ConvertCli, ConvertsAndVerifies) {
  EXPECT_EQ(run(std::string(kWhole) + "-o m.lcw --verify --license 'CC0' --license MIT"), 0)
      << err_;
  EXPECT_EQ(out_, "");
  EXPECT_TRUE(has(err_, "m.lcw: ")) << err_;
  EXPECT_TRUE(has(err_, ", verified\n")) << err_;
  EXPECT_FALSE(has(err_, "\r")) << "progress is for terminals";
  EXPECT_TRUE(has(read_file(folder_ / "m.lcw"), "CC0"));
  EXPECT_TRUE(has(read_file(folder_ / "m.lcw"), "MIT"));
}

TEST_F(ConvertCli, ACardTravelsInTheModel) {
  write_text(folder_ / "card.md", "# Tiny\r\n\n*caf\xc3\xa9*\n");
  EXPECT_EQ(run(std::string(kWhole) + "-o m.lcw --card card.md"), 0) << err_;
  EXPECT_TRUE(has(read_file(folder_ / "m.lcw"), "# Tiny\n\n*caf\xc3\xa9*\n"));
  write_text(folder_ / "empty.md", "");
  write_text(folder_ / "latin1.md", "caf\xe9");
  write_text(folder_ / "long.md", std::string((64 << 10) + 1, 'x'));
  const std::pair<const char*, const char*> wrong[] = {
      {"empty.md", "the file is empty"},
      {"latin1.md", "the card is not UTF-8 text"},
      {"long.md", "the card has 65537 bytes, expected at most 65536"}};
  for (const auto& [card, what] : wrong) {
    EXPECT_EQ(run(std::string(kWhole) + "-o n.lcw --card " + card), 4) << err_;
    EXPECT_TRUE(has(err_, std::string(card) + ": " + what)) << err_;
  }
}

TEST_F(ConvertCli, TheSameTwice) {
  ASSERT_EQ(run(std::string(kWhole) + "-o a.lcw"), 0) << err_;
  ASSERT_EQ(run(std::string(kWhole) + "--output=b.lcw"), 0) << err_;
  EXPECT_EQ(read_file(folder_ / "a.lcw"), read_file(folder_ / "b.lcw"));
  ASSERT_EQ(run(std::string(kWhole) + "-o c.lcw --dtype f16"), 0) << err_;
  EXPECT_LT(read_file(folder_ / "c.lcw").size(), read_file(folder_ / "a.lcw").size());
}

TEST_F(ConvertCli, MakesUpTheRest) {
  write_safetensors(folder_ / "yolo.safetensors", with_prefix(tiny_tensors(), "detector.", ""));
  ASSERT_EQ(run("--detector yolo.safetensors --random 1 -o m.lcw"), 0) << err_;
  EXPECT_TRUE(has(err_, "tensors are random")) << err_;
}

TEST_F(ConvertCli, Lists) {
  EXPECT_EQ(run("--list whole.safetensors"), 0) << err_;
  EXPECT_TRUE(has(out_, "modulator.fc1.weight"));
  EXPECT_EQ(err_, "");
  EXPECT_EQ(run("--list whole.safetensors --json"), 0) << err_;
  const auto list = nlohmann::json::parse(out_);
  EXPECT_EQ(list.size(), tiny_tensors().size());
  EXPECT_EQ(list[0]["dtype"], "f32");
}

TEST_F(ConvertCli, HelpAndVersion) {
  EXPECT_EQ(run("--help"), 0);
  EXPECT_TRUE(has(out_, "--dtype TYPE=f32")) << out_;
  EXPECT_EQ(run("--version"), 0);
  EXPECT_TRUE(out_.starts_with("lightcap-convert ")) << out_;
}

TEST_F(ConvertCli, UsageErrorsAre2) {
  for (const char* arguments :
       {"", "--bogus", "-o", "--lightcap", "-o m.lcw", "whole.safetensors -o m.lcw",
        "--random x -o m.lcw", "--random -1 -o m.lcw", "--random 1 --dtype f8 -o m.lcw",
        "--lightcap whole.safetensors -o m.lcw", "--lightcap whole.safetensors", "--json -o m.lcw",
        "--list whole.safetensors -o m.lcw", "--random 1 -o m.lcw --license $(printf '\\377')"}) {
    EXPECT_EQ(run(arguments), 2) << arguments << ": " << err_;
    EXPECT_EQ(out_, "");
    EXPECT_TRUE(err_.starts_with("lightcap-convert: ")) << err_;
  }
  EXPECT_EQ(read_file(folder_ / "m.lcw").size(), 0u);
}

TEST_F(ConvertCli, BadSourcesAre4) {
  write_text(folder_ / "page.pt", "<!DOCTYPE html><html></html>");
  write_text(folder_ / "c.json", "{\"heads\": 3}");
  const std::string whole = "--lightcap whole.safetensors ";
  for (const std::string& arguments :
       {std::string("--random 1 --bert page.pt"), std::string("--random 1 --bert no.pt"),
        std::string("--random 1 --bert whole.safetensors --detector page.pt"),
        kWhole + std::string("--config c.json"), whole + "--vocab no.txt --concepts labels.txt",
        whole + "--vocab vocab.txt --concepts vocab.txt",
        std::string("--random 1 --vocab labels.txt")}) {
    EXPECT_EQ(run(arguments + " -o m.lcw"), 4) << arguments << ": " << err_;
  }
  EXPECT_EQ(run("--list page.pt"), 4) << err_;
  EXPECT_TRUE(has(err_, "page.pt: ")) << err_;
}

TEST_F(ConvertCli, OutputErrorsAre7) {
  EXPECT_EQ(run(std::string(kWhole) + "-o no/m.lcw"), 7) << err_;
  EXPECT_TRUE(has(err_, "no/m.lcw: ")) << err_;
  EXPECT_EQ(run(std::string(kWhole) + "-o ."), 7) << err_;
  EXPECT_EQ(run("--list whole.safetensors --json >/dev/full #"), 7) << err_;
}

TEST_F(ConvertCli, AFailureHarmsNothing) {
  write_text(folder_ / "m.lcw", "precious");
  TinyTensors broken = tiny_tensors();
  broken.at("head.bias").values[0] = 1.0f / 0.0f;
  write_safetensors(folder_ / "broken.safetensors", broken);
  const std::vector<std::string> before = [this] {
    run("--version");
    return folder_.files();
  }();
  EXPECT_EQ(run("--lightcap broken.safetensors --vocab vocab.txt --concepts labels.txt -o m.lcw"),
            4);
  EXPECT_TRUE(has(err_, "head.bias holds infinity")) << err_;
  EXPECT_EQ(read_file(folder_ / "m.lcw"), "precious");
  EXPECT_EQ(folder_.files(), before);
}

TEST_F(ConvertCli, AnInputIsNeverTheOutput) {
  write_text(folder_ / "config.json", "{}");
  std::filesystem::create_symlink("vocab.txt", folder_ / "symlink");
  std::filesystem::create_hard_link(folder_ / "labels.txt", folder_ / "hardlink");
  const std::string inputs = std::string(kWhole) + "--config config.json ";
  for (const char* output : {"whole.safetensors", "./whole.safetensors", "vocab.txt", "labels.txt",
                             "config.json", "symlink", "hardlink"}) {
    const std::string before = read_file(folder_ / output);
    EXPECT_EQ(run(inputs + "-o " + output), 2) << output << ": " << err_;
    EXPECT_TRUE(has(err_, "is also an input")) << err_;
    EXPECT_EQ(read_file(folder_ / output), before);
  }
}

TEST_F(ConvertCli, AShardIsNeverTheOutput) {
  std::filesystem::rename(folder_ / "whole.safetensors", folder_ / "shard.safetensors");
  nlohmann::json index;
  for (const auto& [name, tensor] : tiny_tensors()) index["weight_map"][name] = "shard.safetensors";
  write_text(folder_ / "whole.safetensors", index.dump());
  const std::string before = read_file(folder_ / "shard.safetensors");
  EXPECT_EQ(run(std::string(kWhole) + "-o shard.safetensors"), 2) << err_;
  EXPECT_TRUE(has(err_, "is also an input")) << err_;
  EXPECT_EQ(read_file(folder_ / "shard.safetensors"), before);
}

TEST_F(ConvertCli, AFileSizeLimitIs7InWords) {
  const std::string limited = "--version >stdout 2>stderr; ulimit -f 1; '" LIGHTCAP_CONVERT "' ";
  EXPECT_EQ(run(limited + kWhole + "-o m.lcw"), 7) << err_;
  EXPECT_TRUE(has(err_, "m.lcw: cannot write: File too large")) << err_;
  EXPECT_FALSE(std::filesystem::exists(folder_ / "m.lcw"));
}

TEST_F(ConvertCli, DeepConfigsAreRefusedWithTheLimit) {
  const std::string deep = std::string(100000, '[') + std::string(100000, ']');
  for (const std::string& text : {deep, "{\"fusion\": {\"heads\": " + deep + "}}"}) {
    write_text(folder_ / "c.json", text);
    EXPECT_EQ(run("--random 1 --config c.json -o m.lcw"), 4) << err_.substr(0, 200);
    EXPECT_TRUE(has(err_, "at most 3 levels")) << err_.substr(0, 200);
  }
}

TEST_F(ConvertCli, TextsOfFilesReachNoTerminal) {
  TinyTensors tensors = tiny_tensors();
  tensors["head.\x1b[2J\nforged line\x7f\u009b"] = {{1}, {1.0f}};
  write_safetensors(folder_ / "whole.safetensors", tensors);
  EXPECT_EQ(run("--list whole.safetensors"), 0) << err_;
  EXPECT_TRUE(has(out_, "head.\\x1b[2J\\nforged line\\x7f\\u009b ")) << out_;
  EXPECT_EQ(run("--list whole.safetensors --json"), 0) << err_;
  EXPECT_EQ(out_.find_first_of("\x1b\x7f\xc2"), std::string::npos);
  EXPECT_EQ(nlohmann::json::parse(out_)[0]["crc32"].is_number(), true);
  EXPECT_EQ(run(std::string(kWhole) + "-o m.lcw"), 0) << err_;
  EXPECT_TRUE(has(err_, "were left out: head.\\x1b[2J\\nforged line")) << err_;
  EXPECT_EQ(run("--list $'no\x1b\\nfile'"), 4);
  write_text(folder_ / "c.json", "{\"fusion\": {\"\\u001b[2J\\n\": \"\\u009b\x7f\"}}");
  EXPECT_EQ(run("--random 1 --config c.json -o m.lcw"), 4);
  EXPECT_TRUE(has(err_, "fusion.\\x1b[2J\\n is not known")) << err_;
}

TEST_F(ConvertCli, HelpThatCannotBeWrittenIs7) {
  EXPECT_EQ(run("--help >/dev/full #"), 7);
  EXPECT_EQ(run("--version >/dev/full #"), 7);
}

// Runs the program on a checkpoint, sends it a signal soon after and returns its status.
int status_after(int signal, const std::string& checkpoint, const std::string& output) {
  const pid_t child = fork();
  if (child == 0) {
    execl(LIGHTCAP_CONVERT, "lightcap-convert", "--random", "1", "--lightcap", checkpoint.c_str(),
          "-o", output.c_str(), static_cast<char*>(nullptr));
    _exit(127);
  }
  usleep(50'000);
  kill(child, signal);
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

TEST_F(ConvertCli, ASignalWhileACheckpointIsParsedEndsItAtOnce) {
  std::string index = "{\"weight_map\": {\"first\": \"shard\"";
  for (int i = 0; i < 1'000'000; ++i) index += ",\"" + std::to_string(i) + "\": \"shard\"";
  write_text(folder_ / "index.json", index + "}}");
  const std::vector<std::string> before = folder_.files();
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const int status = status_after(signal, folder_ / "index.json", folder_ / "m.lcw");
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == signal) << signal << ": " << status;
    EXPECT_EQ(folder_.files(), before);
  }
}

TEST_F(ConvertCli, AnInterruptedRunLeavesNothing) {
  const std::vector<std::string> before = [this] {
    run("--version");
    return folder_.files();
  }();
  run("--random 1 -o m.lcw & sleep 0.2; kill $!; wait $!; true");
  std::vector<std::string> after = folder_.files();
  after.erase(std::remove(after.begin(), after.end(), "m.lcw"), after.end());  // it was faster
  EXPECT_EQ(after, before);
}

}  // namespace
}  // namespace lightcap::internal::testing
