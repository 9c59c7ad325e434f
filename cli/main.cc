// lightcap: caption | bench | inspect. Results go to stdout, everything else to stderr; exit codes
// are those of lightcap_status.
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <new>
#include <utility>
#include <vector>

#include "cli/cli.h"
#include "engine/runtime/error.h"
#include "lightcap.h"

namespace lightcap::cli {
namespace {

std::string version_text() {
  std::string text = std::string("lightcap ") + lightcap_version() + "\n";
  std::string built_in, best;
  for (size_t i = 0; const char* name = lightcap_isa_name(i); ++i) {
    const bool supported = lightcap_isa_supported(name) != 0;
    built_in += std::string(" ") + name + (supported ? "" : " (not supported here)");
    if (supported) best = name;
  }
  const char* forced = std::getenv("LIGHTCAP_ISA");
  if (forced != nullptr && *forced != '\0') best = forced;
  if (lightcap_isa_supported(best.c_str()) == 0) {
    throw Error(ErrorCode::kIsa, "LIGHTCAP_ISA is \"" + best + "\"; there are:" + built_in);
  }
  return text + "instruction set: " + best + "\nbuilt in:" + built_in + "\n";
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
    return app.exit(help, std::cout, std::cerr);
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
  std::array<char, 4096> program;
  const ssize_t length = readlink("/proc/self/exe", program.data(), program.size());
  std::string folder(program.data(), length > 0 ? static_cast<size_t>(length) : 0);
  folder.resize(folder.find_last_of('/') == std::string::npos ? 0 : folder.find_last_of('/') + 1);
  for (const char* place : {"scenes.lcw", "../share/lightcap/scenes.lcw"}) {
    const std::string path = folder + place;
    if (access(path.c_str(), R_OK) != 0) continue;
    std::fprintf(stderr,
                 "lightcap: the model that ships with the engine knows illustrated scenes only; "
                 "--model takes your own\n");
    return path;
  }
  throw Error(
      ErrorCode::kModel,
      "no model: give one with --model or LIGHTCAP_MODEL, or put scenes.lcw beside the program");
}

void flush_results() {
  std::cout.flush();
  if (!std::cout || std::fflush(stdout) != 0) {
    throw Error(ErrorCode::kOutput, "cannot write to standard output");
  }
}

}  // namespace lightcap::cli

int main(int argc, char** argv) {
  using lightcap::ErrorCode;
  try {
    return lightcap::cli::run(argc, argv);
  } catch (const lightcap::Error& error) {
    std::fprintf(stderr, "lightcap: %s\n", error.what());
    return static_cast<int>(error.code());
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "lightcap: out of memory\n");
    return static_cast<int>(ErrorCode::kMemory);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "lightcap: internal error: %s\n", error.what());
    return static_cast<int>(ErrorCode::kInternal);
  }
}
