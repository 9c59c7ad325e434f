// lightcap bench: each stage alone, then the caption as users get it; or layer by layer; or only
// the layers' sizes.
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "bench/measure/peaks.h"
#include "bench/measure/profile.h"
#include "bench/measure/shapes.h"
#include "bench/measure/stages.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/pictures/inputs.h"
#include "engine/runtime/error.h"
#include "lightcap.h"
#include "models/lightcap.h"

namespace lightcap::internal::cli {
namespace {

using nlohmann::ordered_json;

struct Options {
  std::string model;
  int threads = 0;
  int repeat = 20;
  bool json = false;
  bool low_memory = false;
  bool profile = false;
  std::string chrome_trace;
  std::string shapes;
  std::string image;
};

std::shared_ptr<const Model> open_model(const Options& options) {
  return std::make_shared<const Model>(WeightsFile::open(options.model));
}

SessionOptions session_options_of(const Options& options) {
  SessionOptions session_options;
  session_options.kernels = &choose_kernels(nullptr);
  session_options.threads = options.threads == 0 ? default_threads() : options.threads;
  session_options.low_memory = options.low_memory;
  return session_options;
}

std::vector<uint8_t> picture_of(const Options& options) {
  if (options.image.empty()) return bench::made_up_picture();
  return read_input(options.image, ImageLimits{}.max_bytes);
}

ordered_json time_stages(const Options& options) {
  const auto model = open_model(options);
  Session session(model, session_options_of(options));
  ordered_json result = {{"isa", session.kernels().isa},
                         {"threads", session.threads()},
                         {"file_bytes", model->weights().file().bytes().size},
                         {"peak_bytes", session.peak_bytes()}};
  result.update(bench::time_stages(session, picture_of(options), options.repeat));
  return result;
}

void write_text(const std::filesystem::path& path, const std::string& text) {
  write_output(path.string(), {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

// Runs of every stage, layer by layer; then one more as a trace of threads.
ordered_json profile(const Options& options) {
  SessionOptions session_options = session_options_of(options);
  bench::Profile profile(session_options.threads);
  session_options.observer = &profile;
  Session session(open_model(options), session_options);
  const std::vector<uint8_t> bytes = picture_of(options);
  const Image image = decode_image(bytes.data(), bytes.size(), {}, true);
  session.caption(image.view(), {.all_steps = true});
  for (int i = 0; i < options.repeat; ++i) bench::profile_stages(session, image.view(), profile);
  ThreadPool pool(session.threads());
  ordered_json result = {{"isa", session.kernels().isa}, {"threads", session.threads()}};
  result.update(profile.report(bench::measure_peaks(session.kernels(), pool)));
  if (!options.chrome_trace.empty()) {
    // After the report: recording tasks takes a little time of its own.
    profile.trace(true);
    bench::profile_stages(session, image.view(), profile);
    write_text(options.chrome_trace, json_text(profile.chrome_trace()) + "\n");
  }
  return result;
}

void write_shapes(const Options& options) {
  const auto blocks = bench::graph_shapes(open_model(options), choose_kernels(nullptr));
  for (const auto& [block, lines] : blocks) {
    write_text(std::filesystem::path(options.shapes) / (block + ".txt"), lines);
  }
}

void print_text(const ordered_json& result) {
  std::cout << result["isa"].get<std::string>() << ", " << result["threads"] << " threads, model "
            << result["file_bytes"] << " bytes, peak " << result["peak_bytes"] << " bytes, "
            << result["steps"] << " steps\n\n"
            << std::left << std::setw(24) << "stage" << std::right << std::setw(12) << "median ms"
            << std::setw(12) << "min ms\n"
            << std::fixed << std::setprecision(3);
  const auto row = [](const std::string& name, const ordered_json& ms) {
    std::cout << std::left << std::setw(24) << name << std::right << std::setw(12)
              << ms["median"].get<double>() << std::setw(11) << ms["min"].get<double>() << "\n";
  };
  for (const auto& [name, ms] : result["stages_ms"].items()) row(name, ms);
  row("one step", result["step_ms"]);
  row("its head", result["head_ms"]);
}

}  // namespace

Command add_bench(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("bench", "Time every stage and the whole caption");
  command->add_option("--model", options->model,
                      "The .lcw file [$LIGHTCAP_MODEL, else the model that ships with the engine]");
  command->add_option("--threads", options->threads, "Threads, 0 for one a core, 8 at most")
      ->check(CLI::Range(0, kMaxThreads))
      ->capture_default_str();
  command->add_option("--repeat", options->repeat, "Runs of each stage, after one to warm up")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  command->add_flag("--low-memory", options->low_memory, "As captions with --low-memory run");
  command->add_flag("--json", options->json, "Print one JSON object");
  CLI::Option* profile_option =
      command->add_flag("--profile", options->profile,
                        "Instead: time every layer, and compare it with what the machine can do");
  command
      ->add_option("--chrome-trace", options->chrome_trace,
                   "With --profile: one caption's stages, layers and tasks, for chrome://tracing")
      ->type_name("FILE.json")
      ->needs(profile_option);
  command
      ->add_option("--shapes", options->shapes,
                   "Instead: write every layer's size to DIR/encoder.txt, detector.txt, fusion.txt "
                   "and head.txt")
      ->type_name("DIR")
      ->excludes(profile_option);
  command->add_option("IMAGE", options->image,
                      "A picture, - for standard input [a made-up one of 640 x 480 pixels]");
  return [options] {
    options->model = find_model(options->model);
    if (!options->shapes.empty()) {
      write_shapes(*options);
      return 0;
    }
    refuse_input_as_output(options->chrome_trace, {options->image, options->model});
    const ordered_json result = options->profile ? profile(*options) : time_stages(*options);
    if (options->json) {
      std::cout << json_text(result) << "\n";
    } else if (options->profile) {
      bench::print_profile(result);
    } else {
      print_text(result);
    }
    return 0;
  };
}

}  // namespace lightcap::internal::cli
