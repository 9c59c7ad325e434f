// lightcap-quantize: a float .lcw model and pictures in, an int8 model out. Prints nothing to
// stdout but help and version; exit codes are those of lightcap_status.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "cli/pictures/inputs.h"
#include "engine/image/image.h"
#include "engine/io/output_file.h"
#include "engine/runtime/error.h"
#include "engine/text/printable.h"
#include "models/lightcap.h"
#include "weights_converter/inputs.h"
#include "weights_converter/program.h"
#include "weights_converter/quantizer/calibration.h"
#include "weights_converter/quantizer/int8_model.h"
#include "weights_converter/quantizer/report.h"
#include "weights_converter/quantizer/simulation.h"
#include "weights_converter/quantizer/synthetic.h"
#include "weights_converter/sha256.h"

namespace lightcap::internal {
namespace {

struct Arguments {
  std::string model, output, report;
  std::vector<std::string> pictures;
  size_t count = 128;
  int threads = 0;
  bool recursive = false, synthetic = false, simulate = false, version = false;
};

void add_options(CLI::App& app, Arguments& arguments) {
  app.add_option("MODEL", arguments.model, "A model of floats (f32, f16 or bf16)")
      ->type_name("MODEL.lcw");
  app.add_option("PICTURE", arguments.pictures,
                 "Pictures like those to caption: JPEG, PNG, BMP or PNM files, folders of such, "
                 "patterns like 'shots/*.jpg'");
  app.add_option("-o,--output", arguments.output, "The int8 model to write")->type_name("INT8.lcw");
  app.add_option("--count", arguments.count, "Pictures to calibrate on, at most")
      ->check(CLI::Range(size_t{1}, size_t{1} << 20))
      ->capture_default_str();
  app.add_flag("-r,--recursive", arguments.recursive,
               "Of folders, take the pictures in sub-folders too");
  app.add_flag("--synthetic", arguments.synthetic,
               "Calibrate on made-up pictures: for benchmarks of random weights alone");
  app.add_option("--report", arguments.report,
                 "Write what rounding changes, by layer and in all, to this JSON file")
      ->type_name("FILE");
  app.add_flag("--simulate", arguments.simulate, "Write the report alone, and no model");
  app.add_option("--threads", arguments.threads, "Threads, 0 for one a core, 8 at most")
      ->check(CLI::Range(0, kMaxThreads))
      ->capture_default_str();
  app.add_flag("--version", arguments.version, "Print the version");
}

// The pictures to calibrate on, and those to report on.
struct Pictures {
  PictureSet calibration, report;
  bool held_out = false;
};

PictureSet read_from(std::vector<std::string> paths) {
  const size_t count = paths.size();
  return {count, [paths = std::move(paths)](size_t i) {
            const ImageLimits limits;
            const std::vector<uint8_t> bytes = cli::read_input(paths[i], limits.max_bytes);
            return decode_image(bytes.data(), bytes.size(), limits, true, paths[i]);
          }};
}

// `count` of `from`, evenly spread over it, are moved out.
std::vector<std::string> take(std::vector<std::string>& from, size_t count) {
  count = std::min(count, from.size());
  std::vector<std::string> taken, left;
  for (size_t i = 0; i < from.size(); ++i) {
    const bool is_taken = i * count / from.size() != (i + 1) * count / from.size();
    (is_taken ? taken : left).push_back(std::move(from[i]));
  }
  from = std::move(left);
  return taken;
}

void refuse_inputs_as_outputs(const Arguments& arguments, const std::vector<std::string>& inputs) {
  for (const std::string& output : {arguments.output, arguments.report})
    if (!output.empty()) refuse_overwriting(output, inputs);
}

// Pictures beyond those that are calibrated on are there for the report.
Pictures choose_pictures(const Arguments& arguments) {
  constexpr size_t kReported = 32, kSynthetic = 8;
  if (arguments.synthetic) {
    const size_t count = std::min(arguments.count, kSynthetic);
    return {synthetic_pictures(count), synthetic_pictures(count), false};
  }
  const cli::Inputs inputs = cli::expand_inputs(arguments.pictures, arguments.recursive);
  for (const std::string& note : inputs.notes)
    std::fprintf(stderr, "note: %s\n", printable(note).c_str());
  std::vector<std::string> paths;
  for (const cli::Input& input : inputs.pictures) {
    if (!input.error.empty()) throw Error(ErrorCode::kInput, input.error);
    if (input.path == cli::kStandardInput)
      throw Error(ErrorCode::kUsage, "pictures are read twice, so none can be standard input");
    paths.push_back(input.path);
  }
  refuse_inputs_as_outputs(arguments, paths);
  std::sort(paths.begin(), paths.end());
  paths.erase(std::unique(paths.begin(), paths.end()), paths.end());
  std::vector<std::string> calibration = take(paths, arguments.count);
  const bool held_out = !paths.empty();
  std::vector<std::string> reported = held_out ? take(paths, kReported) : calibration;
  if (!held_out) reported = take(reported, kReported);
  return {read_from(std::move(calibration)), read_from(std::move(reported)), held_out};
}

void check_usage(const Arguments& arguments) {
  const auto require = [](bool given, const char* what) {
    if (!given) throw Error(ErrorCode::kUsage, std::string(what) + "; see --help");
  };
  require(!arguments.model.empty(), "MODEL.lcw is missing");
  if (arguments.simulate) {
    require(!arguments.report.empty(), "--simulate needs --report FILE, where it writes");
    require(arguments.output.empty(), "--simulate writes no model: leave out -o");
  } else {
    require(!arguments.output.empty(), "-o INT8.lcw is missing");
  }
  if (arguments.synthetic) {
    require(arguments.pictures.empty(), "--synthetic makes its pictures up: give none");
  } else {
    require(!arguments.pictures.empty(),
            "pictures to calibrate on are missing: give some hundred photographs like those to "
            "caption, as files, folders or patterns, or --synthetic where only speed matters");
  }
  require(!is_same_output(arguments.output, arguments.report),
          "-o and --report name the same file");
  refuse_inputs_as_outputs(arguments, {arguments.model});
}

std::vector<std::string> source_lines(const Arguments& arguments, const WeightsFile& file,
                                      size_t pictures) {
  const std::string name = std::filesystem::path(arguments.model).filename().string();
  const Bytes bytes = file.bytes();
  return {"model: " + printable(name) + ", sha256 " + sha256_hex({bytes.data, bytes.size}),
          "calibration: " + std::to_string(pictures) +
              (arguments.synthetic ? " made-up pictures" : " pictures")};
}

void write_report(const Arguments& arguments, const std::shared_ptr<const Model>& model,
                  const Calibration& calibration, const Pictures& pictures, int threads,
                  const Stopwatch& run) {
  SimulationReport report;
  {
    Progress progress("simulating", pictures.report.count, run);
    report = simulate(model, calibration, pictures.report, threads, std::ref(progress));
  }
  const ReportPictures origin = {pictures.calibration.count, arguments.synthetic,
                                 pictures.held_out};
  const std::string json =
      report_json(report, origin, std::filesystem::path(arguments.model).filename().string());
  OutputFile file(arguments.report);
  file.append({reinterpret_cast<const uint8_t*>(json.data()), json.size()});
  file.publish();
  std::fprintf(stderr, "%s: %s\n", printable(arguments.report).c_str(),
               report_text(report, origin).c_str());
  const std::string warning = report_warning(report);
  if (!warning.empty()) std::fprintf(stderr, "warning: %s\n", warning.c_str());
}

void quantize(const Arguments& arguments) {
  const Stopwatch run;
  check_usage(arguments);
  const Pictures pictures = choose_pictures(arguments);
  const int threads = arguments.threads == 0 ? default_threads() : arguments.threads;
  auto model = std::make_shared<const Model>(WeightsFile::open(arguments.model));
  check_quantizable(model->weights());
  if (arguments.synthetic) {
    std::fprintf(stderr,
                 "note: calibrated on made-up pictures: captions of photographs will "
                 "suffer; for benchmarks alone\n");
  }
  Calibration calibration;
  {
    Progress progress("calibrating", 100, run);
    calibration = calibrate(model, pictures.calibration, threads,
                            [&](size_t done, size_t total) { progress(100 * done / total); });
  }
  if (!arguments.report.empty())
    write_report(arguments, model, calibration, pictures, threads, run);
  if (arguments.simulate) return;
  Int8Model int8(model->weights(), calibration,
                 source_lines(arguments, model->weights().file(), pictures.calibration.count));
  uint64_t bytes = 0;
  {
    Progress progress("writing", int8.plan().tensor_bytes(), run);
    const FillTensor fill = [&](size_t index, const TensorValues& out) { int8.fill(index, out); };
    bytes = write_weights(int8.plan(), fill, arguments.output, std::ref(progress));
  }
  std::fprintf(stderr, "%s: calibrated on %zu pictures, %.1f MB in %.1f s\n",
               printable(arguments.output).c_str(), pictures.calibration.count,
               static_cast<double>(bytes) / 1e6, run.seconds());
}

void run(int argc, char** argv) {
  CLI::App app(
      "Makes an int8 model of one of floats. Pictures like those to caption show how large the\n"
      "numbers become that it rounds: some hundred are enough.");
  app.get_formatter()->column_width(34);
  Arguments arguments;
  add_options(app, arguments);
  if (!parse_arguments(app, argc, argv)) return;
  if (arguments.version) {
    print_output(std::string("lightcap-quantize ") + LIGHTCAP_VERSION + "\n", "version");
    return;
  }
  quantize(arguments);
}

}  // namespace
}  // namespace lightcap::internal

int main(int argc, char** argv) {
  return lightcap::internal::run_work([&] { lightcap::internal::run(argc, argv); });
}
