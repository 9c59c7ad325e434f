// lightcap bench: each stage alone, then the caption as users get it; or layer by layer; or only
// the layers' sizes.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "bench/measure/peaks.h"
#include "bench/measure/profile.h"
#include "bench/measure/shapes.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/pictures/inputs.h"
#include "engine/runtime/error.h"
#include "lightcap.h"
#include "models/lightcap.h"

namespace lightcap::internal {

// A session's stages one by one, and parts of a decoding step.
class StageBench {
 public:
  explicit StageBench(Session& session) : session_(session) {}

  void preprocess(const ImageView& image) { run(Stage::kPreprocess, image); }
  void detect() { run(Stage::kDetect); }
  void encode_image() { run(Stage::kEncodeImage); }
  void find_concepts() { run(Stage::kFindConcepts); }
  void fuse() {
    run(Stage::kEmbedPrefix);
    run(Stage::kRunPrefix);
  }
  // Greedy, until the slots are full.
  void decode() { run(Stage::kDecode); }
  // In the middle of a caption, where the number of keys is the average one; without its head.
  void step() {
    const size_t middle = session_.captioner_.steps() / 2;
    session_.captioner_.step(session_.runtime_, std::max<size_t>(middle, 1));
  }
  void head() { session_.captioner_.find_word(session_.runtime_); }

 private:
  void run(Stage stage, const ImageView& image = {}) {
    session_.run(stage, image, {.all_steps = true}, nullptr);
  }

  Session& session_;
};

}  // namespace lightcap::internal

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

// A picture of smooth colours and edges, as the bytes of a PPM file: there is always something to
// bench.
std::vector<uint8_t> made_up_picture() {
  constexpr int kWidth = 640, kHeight = 480;
  const std::string header = "P6\n640 480\n255\n";
  std::vector<uint8_t> bytes(header.begin(), header.end());
  for (int y = 0; y < kHeight; ++y) {
    for (int x = 0; x < kWidth; ++x) {
      const bool edge = ((x / 40) + (y / 40)) % 2 == 0;
      bytes.push_back(static_cast<uint8_t>(x * 255 / kWidth));
      bytes.push_back(static_cast<uint8_t>(y * 255 / kHeight));
      bytes.push_back(edge ? 200 : 55);
    }
  }
  return bytes;
}

// Milliseconds of `repeat` runs, after one to warm up: {"median", "min"}.
template <class F>
ordered_json measure(int repeat, F&& stage) {
  using Clock = std::chrono::steady_clock;
  stage();
  std::vector<double> ms;
  for (int i = 0; i < repeat; ++i) {
    const auto start = Clock::now();
    stage();
    ms.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
  }
  std::sort(ms.begin(), ms.end());
  const size_t middle = ms.size() / 2;
  const double median = ms.size() % 2 == 1 ? ms[middle] : (ms[middle - 1] + ms[middle]) / 2;
  return {{"median", median}, {"min", ms[0]}};
}

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
  if (options.image.empty()) return made_up_picture();
  return read_input(options.image, ImageLimits{}.max_bytes);
}

ordered_json time_stages(const Options& options) {
  const auto model = open_model(options);
  Session session(model, session_options_of(options));

  const std::vector<uint8_t> bytes = picture_of(options);
  const ImageLimits limits;
  const auto decode_picture = [&] {
    return decode_image(bytes.data(), bytes.size(), limits, true, "the image",
                        session.picture_use());
  };
  const Image image = decode_picture();
  const DecodeOptions all_steps = {.all_steps = true};

  ordered_json stages;
  const auto stage = [&](const char* name, auto&& run) {
    stages[name] = measure(options.repeat, run);
  };
  stage("read_image", decode_picture);
  StageBench alone(session);
  stage("preprocess", [&] { alone.preprocess(image.view()); });
  stage("detector", [&] { alone.detect(); });
  stage("image_encoder", [&] { alone.encode_image(); });
  stage("concepts", [&] { alone.find_concepts(); });
  stage("fusion_prefix", [&] { alone.fuse(); });
  stage("decoding", [&] { alone.decode(); });
  const size_t steps = session.captioner().steps();
  const ordered_json step = measure(options.repeat, [&] { alone.step(); });
  const ordered_json head = measure(options.repeat, [&] { alone.head(); });
  const ordered_json caption =
      measure(options.repeat, [&] { session.caption(decode_picture().view(), all_steps); });
  stages["total"] = caption;
  return {{"isa", session.kernels().isa},
          {"threads", session.threads()},
          {"file_bytes", model->weights().file().bytes().size},
          {"peak_bytes", session.peak_bytes()},
          {"steps", steps},
          {"stages_ms", std::move(stages)},
          {"step_ms", step},
          {"head_ms", head},
          {"caption_ms", caption}};
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
  const DecodeOptions all_steps = {.all_steps = true};
  session.caption(image.view(), all_steps);
  StageBench stages(session);
  const auto caption = [&] {
    profile.stage("preprocess", [&] { stages.preprocess(image.view()); });
    profile.stage("detector", [&] { stages.detect(); });
    profile.stage("image_encoder", [&] { stages.encode_image(); });
    profile.stage("concepts", [&] { stages.find_concepts(); });
    profile.stage("fusion_prefix", [&] { stages.fuse(); });
    profile.stage("decoding", [&] { stages.decode(); });
  };
  for (int i = 0; i < options.repeat; ++i) caption();
  ThreadPool pool(session.threads());
  ordered_json result = {{"isa", session.kernels().isa}, {"threads", session.threads()}};
  result.update(profile.report(bench::measure_peaks(session.kernels(), pool)));
  if (!options.chrome_trace.empty()) {
    // After the report: recording tasks takes a little time of its own.
    profile.trace(true);
    caption();
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
