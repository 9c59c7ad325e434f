// lightcap caption: sessions of the C API, as any host would open them.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>
#include <vector>

#include "cli/annotate.h"
#include "cli/batch.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/pictures/inputs.h"
#include "cli/pictures/list.h"
#include "cli/result_json.h"
#include "cli/results_file.h"
#include "cli/sidecar.h"
#include "engine/image/image.h"
#include "engine/io/npy.h"
#include "engine/io/output_file.h"
#include "engine/platform/platform.h"
#include "engine/runtime/error.h"
#include "engine/text/printable.h"
#include "lightcap.h"
#include "models/lightcap.h"

namespace lightcap::internal::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string model;
  int threads = 0;
  int jobs = 0;
  int n_best = 0;  // 0: the best alone
  bool json = false;
  std::vector<std::string> must_contain;  // each a word's forms, between bars
  bool low_memory = false;
  bool recursive = false;
  std::string exif = "apply";
  std::string trace;
  std::string annotate;
  std::string files_from;
  bool zeros = false;
  std::string shard;
  std::string output;
  bool resume = false;
  bool overwrite = false;
  std::string sidecar;
  lightcap_caption_options caption = LIGHTCAP_CAPTION_OPTIONS_INIT;
  std::vector<std::string> images;
};

void check(lightcap_status status) {
  if (status != LIGHTCAP_OK) throw Error(static_cast<ErrorCode>(status), lightcap_last_error());
}

// While it lives, the library's warnings are ours; what it says beside those is for hosts. Sessions
// that open one after the other warn of the same. For one thread.
class Warnings {
 public:
  Warnings() { lightcap_set_log(show, this); }
  ~Warnings() { lightcap_set_log(nullptr, nullptr); }
  Warnings(const Warnings&) = delete;
  Warnings& operator=(const Warnings&) = delete;

 private:
  static void show(void* context, int level, const char* message) {
    std::string& last = static_cast<Warnings*>(context)->last_;
    if (level <= 0 || last == message) return;
    last = message;
    report("warning: " + last);
  }

  std::string last_;
};

struct Close {
  void operator()(lightcap_model* model) const { lightcap_model_close(model); }
  void operator()(lightcap_session* session) const { lightcap_session_close(session); }
  void operator()(lightcap_constraints* constraints) const {
    lightcap_constraints_close(constraints);
  }
};

using Session = std::unique_ptr<lightcap_session, Close>;
using Constraints = std::unique_ptr<lightcap_constraints, Close>;

// How the threads are shared out: pictures at a time, and threads for each (0: the library's
// default).
struct Shares {
  size_t jobs;
  int threads;
};

// One picture can't keep all threads busy all the time; as many pictures as threads can. So by
// default each thread has a picture of its own.
Shares share_threads(const Options& options, size_t pictures) {
  const int threads = options.threads != 0 ? options.threads : lightcap_default_threads();
  const auto wanted = static_cast<size_t>(options.jobs != 0 ? options.jobs : threads);
  const size_t jobs = std::clamp<size_t>(wanted, 1, std::max<size_t>(pictures, 1));
  if (jobs == 1) return {1, options.threads};
  return {jobs, std::max(1, threads / static_cast<int>(jobs))};
}

// The parts of a text between bars.
std::vector<std::string> parts_of(const std::string& text) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == '|') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

// The words of --must-contain; null without one.
Constraints open_constraints(const lightcap_model* model, const std::vector<std::string>& words) {
  if (words.empty()) return nullptr;
  lightcap_constraints* opened = nullptr;
  check(lightcap_constraints_open(model, &opened));
  Constraints constraints(opened);
  for (const std::string& word : words) {
    const std::vector<std::string> forms = parts_of(word);
    std::vector<const char*> texts;
    for (const std::string& form : forms) texts.push_back(form.c_str());
    check(lightcap_constraints_add(opened, texts.data(), texts.size()));
  }
  return constraints;
}

// Sessions, and the constraints of their captions.
struct Opened {
  Constraints constraints;
  std::vector<Session> sessions;
};

// Sessions that share one model; it is closed before they are used: they keep what they need of it.
Opened open_sessions(const std::string& model_path, const Options& options, const Shares& shares) {
  const Warnings shown;
  lightcap_model* model = nullptr;
  check(lightcap_model_open(model_path.c_str(), nullptr, &model));
  const std::unique_ptr<lightcap_model, Close> owned_model(model);
  Opened opened = {open_constraints(model, options.must_contain), {}};
  lightcap_session_options session_options = LIGHTCAP_SESSION_OPTIONS_INIT;
  session_options.max_states = lightcap_constraints_states(opened.constraints.get());
  session_options.threads = shares.threads;
  session_options.max_beams = options.caption.beams;
  session_options.low_memory = options.low_memory ? 1 : 0;
  for (size_t i = 0; i < shares.jobs; ++i) {
    lightcap_session* session = nullptr;
    check(lightcap_session_open(model, &session_options, &session));
    opened.sessions.emplace_back(session);
  }
  return opened;
}

// A run of captions, with what its threads share and count.
struct Run {
  const Options& options;
  bool json;
  bool one_of_several;
  lightcap_caption_options caption;
  std::atomic<size_t> sidecars_left = 0;  // as they were, for want of --overwrite
};

// Writes each stage to `folder`/name.npy. Errors can't cross the C callback: they are kept for
// later.
struct Tracer {
  std::string folder;
  std::string error;

  static void write(void* context, const char* name, const float* data, const size_t* dims,
                    size_t ndim) {
    auto& tracer = *static_cast<Tracer*>(context);
    try {
      write_npy(tracer.folder + "/" + name + ".npy", data, std::vector<size_t>(dims, dims + ndim));
    } catch (const std::exception& error) {
      if (tracer.error.empty()) tracer.error = error.what();
    }
  }
};

void refuse_several(const std::string& option, const std::string& given, size_t pictures) {
  if (given.empty() || pictures == 1) return;
  throw Error(ErrorCode::kUsage,
              option + " takes one image, " + std::to_string(pictures) + " were given");
}

void make_folder(const std::string& path) {
  if (platform::make_folder(path) || errno == EEXIST) return;
  throw Error(ErrorCode::kOutput, path + ": cannot make the folder: " + std::strerror(errno));
}

Line failure(const Run& run, const Input& input, const std::string& error) {
  Line line = {"", message_line(error), true};
  if (run.json) line.out = json_text(json_object("image", input.path, "error", error)) + "\n";
  return line;
}

// The library's words on a picture; it calls bytes, which have no name, the image.
std::string last_error_about(const Input& input) {
  constexpr std::string_view kNameless = "the image: ";
  std::string_view words = lightcap_last_error();
  if (words.starts_with(kNameless)) words.remove_prefix(kNameless.size());
  return name_of_input(input.path) + ": " + std::string(words);
}

// Captions a picture's file; the times include what reading it took, which was since `start`. With
// --annotate `image` keeps the pixels, and Error(kInput) is thrown where there are none.
lightcap_status caption_bytes(lightcap_session* session, const Run& run, const Input& input,
                              const std::vector<uint8_t>& bytes, Clock::time_point start,
                              lightcap_result& result, Image& image) {
  const bool keeps_pixels = !run.options.annotate.empty();
  if (keeps_pixels) {
    ImageLimits limits;
    limits.max_pixels = run.caption.max_pixels;
    image = decode_image(bytes.data(), bytes.size(), limits, run.caption.ignore_exif == 0,
                         name_of_input(input.path));
  }
  const double read_ms = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  const void* data = bytes.empty() ? "" : static_cast<const void*>(bytes.data());
  const lightcap_status status =
      keeps_pixels ? lightcap_caption_pixels(session, image.pixels.get(), image.width, image.height,
                                             0, &run.caption, &result)
                   : lightcap_caption_image(session, data, bytes.size(), &run.caption, &result);
  result.timings_ms.read_image += read_ms;
  result.timings_ms.total += read_ms;
  return status;
}

void annotate(const std::string& path, Image image, const lightcap_result& result) {
  const Canvas canvas = annotated(image.view(), result);
  image = {};  // a large one takes more memory than all that follows
  write_output(path, canvas.png());
}

Line caption_one(lightcap_session* session, Run& run, const Input& input) {
  const Options& options = run.options;
  if (!input.error.empty()) return failure(run, input, input.error);
  const Clock::time_point start = Clock::now();
  lightcap_result result = LIGHTCAP_RESULT_INIT;
  lightcap_status status = LIGHTCAP_OK;
  Image image;
  try {
    const std::vector<uint8_t> bytes = read_input(input.path, ImageLimits{}.max_bytes);
    status = caption_bytes(session, run, input, bytes, start, result, image);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kInput) throw;
    return failure(run, input, error.what());
  }
  if (status == LIGHTCAP_ERROR_INPUT) return failure(run, input, last_error_about(input));
  check(status);
  if (!options.annotate.empty()) annotate(options.annotate, std::move(image), result);
  if (!options.sidecar.empty() && !write_sidecar(input.path, result, options.overwrite))
    ++run.sidecars_left;
  if (run.json) {
    const JsonExtras extras = {run.caption.constraints, options.must_contain.size(),
                               static_cast<size_t>(options.n_best)};
    return {json_text(result_json(input.path, result, extras)) + "\n", "", false};
  }
  const std::string name = run.one_of_several ? printable(input.path) + ": " : "";
  Line line = {name + printable(result.caption) + "\n", "", false};
  for (size_t i = 1; i < static_cast<size_t>(options.n_best) && i < result.hypothesis_count; ++i)
    line.out += name + printable(lightcap_hypothesis_at(&result, i)->caption) + "\n";
  return line;
}

Inputs gather_inputs(const Options& options) {
  const bool takes_list = !options.files_from.empty();
  if (options.images.empty() && !takes_list)
    throw Error(ErrorCode::kUsage, "IMAGE is required, or --files-from; see --help");
  if (options.zeros && !takes_list) throw Error(ErrorCode::kUsage, "-0 goes with --files-from");
  const bool takes_stdin =
      std::count(options.images.begin(), options.images.end(), kStandardInput) > 0;
  if (takes_stdin && options.files_from == kStandardInput)
    throw Error(ErrorCode::kUsage, "standard input is either a picture or the list of pictures");
  if (takes_stdin && !options.sidecar.empty())
    throw Error(ErrorCode::kUsage, "--sidecar: standard input has no place for one beside it");
  const Shard shard = options.shard.empty() ? Shard() : parse_shard(options.shard);
  Inputs inputs = expand_inputs(options.images, options.recursive);
  if (takes_list) {
    std::vector<Input> listed = read_list(options.files_from, options.zeros);
    std::move(listed.begin(), listed.end(), std::back_inserter(inputs.pictures));
  }
  keep_shard(shard, inputs.pictures);
  return inputs;
}

// The file of --output, if any; the pictures that have a line in it are dropped from `inputs`.
std::optional<ResultsFile> open_results(const Options& options, const std::string& model,
                                        std::vector<Input>& inputs) {
  if (options.output.empty()) {
    if (options.resume) throw Error(ErrorCode::kUsage, "--resume goes with --output");
    return std::nullopt;
  }
  if (options.resume && options.overwrite && options.sidecar.empty())
    throw Error(ErrorCode::kUsage, "--resume goes on with what --overwrite would begin anew");
  std::vector<std::string> read = {model};
  if (!options.files_from.empty()) read.push_back(options.files_from);
  for (const Input& input : inputs) read.push_back(input.path);
  refuse_input_as_output(options.output, read);
  std::optional<ResultsFile> results;
  results.emplace(options.output, options.resume      ? Existing::kResume
                                  : options.overwrite ? Existing::kReplace
                                                      : Existing::kRefuse);
  const size_t all = inputs.size();
  if (const size_t done = results->drop_done(inputs); done > 0) {
    report(std::to_string(done) + " of " + std::to_string(all) + " pictures have their line in " +
           options.output + " already");
  }
  return results;
}

// The exit code: 0, or 1 if an image failed.
int caption_inputs(Run& run, const std::string& model, const std::vector<Input>& inputs,
                   std::optional<ResultsFile>& results) {
  const Options& options = run.options;
  const Shares shares = share_threads(options, inputs.size());
  const Opened opened = open_sessions(model, options, shares);
  run.caption.constraints = opened.constraints.get();
  Tracer tracer = {options.trace, ""};
  if (!options.trace.empty()) {
    make_folder(options.trace);
    lightcap_session_set_trace(opened.sessions[0].get(), Tracer::write, &tracer);
  }
  int code = 0;
  size_t done = 0;
  ProgressBar bar(inputs.size());
  bar.show(0);
  const auto work = [&](size_t job, size_t index) {
    return caption_one(opened.sessions[job].get(), run, inputs[index]);
  };
  run_in_order(inputs.size(), shares.jobs, work, [&](const Line& line) {
    if (!tracer.error.empty()) throw Error(ErrorCode::kOutput, tracer.error);
    if (line.failed) code = LIGHTCAP_ERROR_INPUT;
    if (!results || !line.err.empty()) bar.hide();
    std::cerr << line.err;
    if (results) {
      results->append(line.out);
    } else {
      std::cout << line.out;
      flush_results();  // a line an image, as soon as it is known
    }
    if (++done < inputs.size()) bar.show(done);
  });
  return code;
}

int caption_all(const Options& options) {
  Inputs expanded = gather_inputs(options);
  std::vector<Input>& inputs = expanded.pictures;
  refuse_several("--trace", options.trace, inputs.size());
  refuse_several("--annotate", options.annotate, inputs.size());
  for (const std::string& note : expanded.notes) report(note);
  const std::string model = find_model(options.model);
  if (inputs.size() == 1) refuse_input_as_output(options.annotate, {inputs[0].path, model});
  if (is_same_output(options.output, options.annotate))
    throw Error(ErrorCode::kUsage, "--output and --annotate name the same file");
  Run run = {options, options.json || !options.output.empty(), inputs.size() > 1, options.caption};
  std::optional<ResultsFile> results = open_results(options, model, inputs);
  const int code = inputs.empty() ? 0 : caption_inputs(run, model, inputs, results);
  if (results) results->close();
  if (const size_t left = run.sidecars_left; left > 0) {
    report(std::to_string(left) +
           (left == 1 ? " sidecar exists already and was" : " sidecars exist already and were") +
           " left; --overwrite replaces them");
  }
  return code;
}

// The options of the search.
void add_search_options(CLI::App* command, Options& options) {
  command->add_option("--model", options.model,
                      "The .lcw file [$LIGHTCAP_MODEL, else the model that ships with the engine]");
  command
      ->add_option("--beams", options.caption.beams,
                   "Width of the beam search, 1 for greedy search")
      ->check(CLI::Range(1, static_cast<int>(kMaxBeams)))
      ->capture_default_str();
  command
      ->add_option("--n-best", options.n_best,
                   "Print the N best captions, with --json as `alternatives`: of a search at least "
                   "that wide")
      ->check(CLI::Range(1, static_cast<int>(kMaxBeams)));
  command
      ->add_option("--length-penalty", options.caption.length_penalty,
                   "A: a caption's score is its log-probability / length^A")
      ->capture_default_str();
  command
      ->add_option("--must-contain", options.must_contain,
                   "WORD or WORD|FORM|...: captions contain the word, or one of its forms; may be "
                   "given for up to four words. The search is --beams wide for each set of them")
      ->take_all()
      ->allow_extra_args(false);
}

// The options that say how pictures are read and the work is shared out.
void add_run_options(CLI::App* command, Options& options) {
  command->add_option("--threads", options.threads, "Threads, 0 for one a core, 8 at most")
      ->check(CLI::Range(0, kMaxThreads))
      ->capture_default_str();
  command
      ->add_option("--jobs", options.jobs,
                   "Pictures at a time, which share the threads; 0 for one a thread")
      ->check(CLI::Range(0, kMaxThreads))
      ->capture_default_str();
  command->add_flag("--low-memory", options.low_memory,
                    "Slower, in about the memory of the model's file");
  command->add_option("--exif", options.exif, "EXIF orientation: apply or ignore")
      ->check(CLI::IsMember({"apply", "ignore"}))
      ->capture_default_str();
  command
      ->add_option("--max-pixels", options.caption.max_pixels,
                   "Pictures with more are refused before they are decoded")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 28))
      ->capture_default_str();
}

// The options that name the pictures and what is written of them.
void add_file_options(CLI::App* command, Options& options) {
  command->add_flag("-r,--recursive", options.recursive,
                    "Of folders, caption the pictures in sub-folders too");
  command->add_option("--files-from", options.files_from,
                      "Caption the files that this file names, a line each; - for standard input");
  command->add_flag("-0,--null", options.zeros, "In --files-from, NUL ends each name");
  command->add_option("--shard", options.shard,
                      "I/N: of the pictures, only the I-th of N parts, by their paths");
  command->add_option("--output", options.output,
                      "Write the lines of --json to this file, for runs of hours");
  command->add_flag("--resume", options.resume,
                    "Skip the pictures whose line is in --output already, and append the others");
  command
      ->add_option("--sidecar", options.sidecar,
                   "xmp: write each caption to IMAGE.xmp as well, for photo managers")
      ->check(CLI::IsMember({"xmp"}));
  command->add_flag("--overwrite", options.overwrite,
                    "Replace sidecars, and the file of --output, that exist already");
  command->add_flag("--json", options.json,
                    "Print one JSON object a line, with concepts and timings");
  command->add_option("--trace", options.trace,
                      "Write every stage of one image to this folder as .npy");
  command->add_option("--annotate", options.annotate,
                      "Write one image with its boxes, concepts and caption to this PNG file");
  command->add_option(
      "IMAGE", options.images,
      "JPEG, PNG, BMP or PNM files, folders of such, patterns like 'shots/*.jpg', or - for "
      "one picture on standard input");
}

}  // namespace

Command add_caption(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("caption", "Write a caption for each image");
  add_search_options(command, *options);
  add_run_options(command, *options);
  add_file_options(command, *options);
  return [options] {
    options->caption.beams = std::max(options->caption.beams, options->n_best);
    options->caption.ignore_exif = options->exif == "ignore" ? 1 : 0;
    return caption_all(*options);
  };
}

}  // namespace lightcap::internal::cli
