// lightcap: caption | bench | inspect. Results go to stdout, everything else to stderr; exit codes
// are those of lightcap_status.
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <utility>
#include <vector>

#include "cli/cli.h"
#include "cli/output.h"
#include "engine/platform/platform.h"
#include "engine/runtime/error.h"
#include "engine/runtime/terminate.h"
#include "engine/text/run_program.h"
#include "lightcap.h"
#include "models/lightcap.h"

namespace lightcap::internal::cli {
namespace {

std::string version_text() {
  std::string built_in;
  for (size_t i = 0; const char* name = lightcap_isa_name(i); ++i) {
    built_in += std::string(" ") + name;
    if (lightcap_isa_supported(name) == 0) built_in += " (not supported here)";
  }
  // The one that a session takes: the best here, or the one that LIGHTCAP_ISA forces.
  const std::string chosen = choose_kernels(nullptr).isa;
  return std::string("lightcap ") + lightcap_version() + "\ninstruction set: " + chosen +
         "\nbuilt in:" + built_in + "\n";
}

// Before main already: making the option parser's globals allocates.
[[gnu::constructor(101)]] void handle_terminate() {
  end_with_words({.out_of_memory = "lightcap: out of memory\n"});
}

int run(int argc, char** argv) {
  CLI::App app("LightCap: captions for images, on any CPU");
  app.require_subcommand(0, 1);
  app.get_formatter()->column_width(34);
  bool version = false;
  app.add_flag("--version", version, "Print the version and the instruction sets");
  const std::vector<Command> commands = {add_caption(app), add_bench(app), add_inspect(app)};
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    const int code = app.exit(help, std::cout, std::cerr);
    flush_results();
    return code;
  } catch (const CLI::ParseError& error) {
    throw Error(ErrorCode::kUsage, std::string(error.what()) + "; see --help");
  }
  if (version) {
    std::cout << version_text();
    flush_results();
    return 0;
  }
  const std::vector<CLI::App*> subcommands = app.get_subcommands({});
  for (size_t i = 0; i < subcommands.size(); ++i) {
    if (!subcommands[i]->parsed()) continue;
    const int code = commands[i]();
    flush_results();
    return code;
  }
  throw Error(ErrorCode::kUsage, "no command given: caption, bench or inspect; see --help");
}

}  // namespace

std::string find_model(const std::string& given) {
  if (!given.empty()) return given;
  const char* variable = std::getenv("LIGHTCAP_MODEL");
  if (variable != nullptr && *variable != '\0') return variable;
  const std::filesystem::path program = platform::program_path();
  for (const char* place : {"scenes.lcw", LIGHTCAP_DATA_DIR "/scenes.lcw",
                            "../share/lightcap/scenes.lcw", "../scenes.lcw"}) {
    if (program.empty()) break;
    const std::filesystem::path path = program.parent_path() / place;
    if (!platform::may_read(path.string())) continue;
    report(
        "the model that ships with the engine knows illustrated scenes only; --model takes your "
        "own");
    return path.string();
  }
  throw Error(
      ErrorCode::kModel,
      "no model: give one with --model or LIGHTCAP_MODEL, or put scenes.lcw beside the program");
}

}  // namespace lightcap::internal::cli

int main(int argc, char** argv) {
  using namespace lightcap::internal;
  return run_program("lightcap", cli::report, [&] { return cli::run(argc, argv); });
}
