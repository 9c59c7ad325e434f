// lightcap caption: through the C API alone, as any host would.
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "engine/cli/annotate.h"
#include "engine/cli/cli.h"
#include "engine/error.h"
#include "engine/npy.h"
#include "lightcap.h"

namespace lightcap::cli {
namespace {

using nlohmann::ordered_json;

struct Options {
  std::string model;
  int threads = 0;
  bool json = false;
  std::string exif = "apply";
  std::string trace;
  std::string annotate;
  lightcap_caption_options caption = LIGHTCAP_CAPTION_OPTIONS_INIT;
  std::vector<std::string> images;
};

void check(lightcap_status status) {
  if (status != LIGHTCAP_OK) throw Error(static_cast<ErrorCode>(status), lightcap_last_error());
}

struct Close {
  void operator()(lightcap_model* model) const { lightcap_model_close(model); }
  void operator()(lightcap_session* session) const { lightcap_session_close(session); }
};

// Closed before the session is used: a session keeps what it needs of its model.
std::unique_ptr<lightcap_session, Close> open_session(const Options& options) {
  lightcap_model* model = nullptr;
  check(lightcap_model_open(find_model(options.model).c_str(), nullptr, &model));
  const std::unique_ptr<lightcap_model, Close> owned_model(model);
  lightcap_session_options session_options = LIGHTCAP_SESSION_OPTIONS_INIT;
  session_options.threads = options.threads;
  session_options.max_beams = options.caption.beams;
  lightcap_session* session = nullptr;
  check(lightcap_session_open(model, &session_options, &session));
  return std::unique_ptr<lightcap_session, Close>(session);
}

ordered_json to_json(const std::string& image, const lightcap_result& result) {
  ordered_json concepts = ordered_json::array();
  for (size_t i = 0; i < result.concept_count; ++i) {
    const lightcap_concept& found = result.concepts[i];
    concepts.push_back({{"label", found.label},
                        {"similarity", found.similarity},
                        {"score", found.score},
                        {"box", found.box}});
  }
  const lightcap_timings& ms = result.timings_ms;
  return {{"image", image},
          {"caption", result.caption},
          {"score", result.score},
          {"tokens", std::vector<uint32_t>(result.tokens, result.tokens + result.token_count)},
          {"concepts", std::move(concepts)},
          {"timings_ms",
           {{"read_image", ms.read_image},
            {"preprocess", ms.preprocess},
            {"detector", ms.detector},
            {"image_encoder", ms.image_encoder},
            {"concepts", ms.concepts},
            {"fusion_prefix", ms.fusion_prefix},
            {"decoding", ms.decoding},
            {"total", ms.total}}}};
}

// Paths may hold bytes that are no UTF-8, which JSON can't: those become U+FFFD.
void print_json(const ordered_json& line) {
  std::cout << line.dump(-1, ' ', false, ordered_json::error_handler_t::replace) << "\n";
}

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

// The exit code: 0, or 1 if an image failed.
int caption_all(const Options& options) {
  if (!options.trace.empty() && options.images.size() != 1) {
    throw Error(ErrorCode::kUsage, "--trace takes one image, " +
                                       std::to_string(options.images.size()) + " were given");
  }
  if (!options.annotate.empty() && options.images.size() != 1) {
    throw Error(ErrorCode::kUsage, "--annotate takes one image, " +
                                       std::to_string(options.images.size()) + " were given");
  }
  const auto session = open_session(options);
  Tracer tracer = {options.trace, ""};
  if (!options.trace.empty()) {
    if (mkdir(options.trace.c_str(), 0777) != 0 && errno != EEXIST) {
      throw Error(ErrorCode::kOutput,
                  options.trace + ": cannot make the folder: " + std::strerror(errno));
    }
    lightcap_session_set_trace(session.get(), Tracer::write, &tracer);
  }
  int code = 0;
  for (const std::string& image : options.images) {
    lightcap_result result = {};
    result.struct_size = sizeof result;
    const lightcap_status status =
        lightcap_caption_file(session.get(), image.c_str(), &options.caption, &result);
    if (status == LIGHTCAP_ERROR_INPUT) {
      code = LIGHTCAP_ERROR_INPUT;
      std::cerr << "lightcap: " << lightcap_last_error() << "\n";
      if (options.json) print_json({{"image", image}, {"error", lightcap_last_error()}});
      continue;
    }
    check(status);
    if (!tracer.error.empty()) throw Error(ErrorCode::kOutput, tracer.error);
    if (!options.annotate.empty()) {
      const bool apply_exif = options.caption.ignore_exif == 0;
      write_annotated(options.annotate, read_image(image, {}, apply_exif), result);
    }
    if (options.json) {
      print_json(to_json(image, result));
    } else if (options.images.size() > 1) {
      std::cout << image << ": " << result.caption << "\n";
    } else {
      std::cout << result.caption << "\n";
    }
    flush_results();  // a line an image, as soon as it is known
  }
  return code;
}

}  // namespace

Command add_caption(CLI::App& app) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("caption", "Write a caption for each image");
  command->add_option("--model", options->model,
                      "The .lcw file [$LIGHTCAP_MODEL, else the model that ships with the engine]");
  command
      ->add_option("--beams", options->caption.beams,
                   "Width of the beam search, 1 for greedy search")
      ->check(CLI::Range(1, 32))
      ->capture_default_str();
  command
      ->add_option("--length-penalty", options->caption.length_penalty,
                   "A: a caption's score is its log-probability / length^A")
      ->capture_default_str();
  command->add_option("--threads", options->threads, "Threads, 0 for one a core, 8 at most")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->add_option("--exif", options->exif, "EXIF orientation: apply or ignore")
      ->check(CLI::IsMember({"apply", "ignore"}))
      ->capture_default_str();
  command->add_flag("--json", options->json,
                    "Print one JSON object a line, with concepts and timings");
  command->add_option("--trace", options->trace,
                      "Write every stage of one image to this folder as .npy");
  command->add_option("--annotate", options->annotate,
                      "Write one image with its boxes, concepts and caption to this PNG file");
  command->add_option("IMAGE", options->images, "JPEG, PNG, BMP or PNM files")->required();
  return [options] {
    options->caption.ignore_exif = options->exif == "ignore" ? 1 : 0;
    return caption_all(*options);
  };
}

}  // namespace lightcap::cli
