// lightcap-convert: checkpoints in, one .lcw file out. Only --list prints to stdout; exit codes are
// those of lightcap_status.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "engine/runtime/error.h"
#include "engine/text/printable.h"
#include "engine/text/unicode.h"
#include "weights_converter/assemble.h"
#include "weights_converter/list.h"
#include "weights_converter/program.h"
#include "weights_converter/text_files.h"
#include "weights_converter/verify.h"

namespace lightcap::internal {
namespace {

struct Arguments {
  ConversionOptions conversion;
  std::string type = "f32";
  std::string output;
  std::string list;
  bool json = false;
  bool verify = false;
  bool version = false;
};

void add_options(CLI::App& app, Arguments& arguments) {
  ConversionOptions& conversion = arguments.conversion;
  const auto add_checkpoint = [&](Role role, const char* help) {
    app.add_option(role_option(role), conversion.checkpoints[static_cast<size_t>(role)], help)
        ->type_name("FILE")
        ->group("Checkpoints (torch.save, TorchScript or safetensors)");
  };
  add_checkpoint(Role::kImageEncoder, "CLIP with a ResNet image encoder");
  add_checkpoint(Role::kDetector, "YOLOv5 of three scales, release 6.0 to 7.0");
  add_checkpoint(Role::kBert, "BERT, such as TinyBERT with 4 layers");
  add_checkpoint(Role::kLightcap, "LightCap's own parts, or a whole model");
  app.add_option("--vocab", conversion.vocabulary, "WordPiece vocabulary, a token a line")
      ->type_name("FILE");
  app.add_option("--concepts", conversion.labels, "Labels of the concept vocabulary, one a line")
      ->type_name("FILE");
  app.add_option("--config", conversion.config,
                 "Hyper-parameters as JSON (default: those of the paper)")
      ->type_name("FILE");
  app.add_option("--dtype", arguments.type, "How matrices are stored: f32, f16 or bf16")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}).description(""))
      ->type_name("TYPE")
      ->capture_default_str();
  app.add_option("--random", conversion.random_seed,
                 "Make up what no file names, from this seed: weights, and words")
      ->check(CLI::NonNegativeNumber.description(""))
      ->type_name("SEED");
  app.add_option("--license", conversion.licenses,
                 "Licence of a source, to travel in the model; may be given several times")
      ->type_name("TEXT")
      ->expected(1)
      ->take_all();
  app.add_option("--card", conversion.card,
                 "Model card (Markdown), to travel in the model; lightcap inspect prints it")
      ->type_name("FILE");
  CLI::Option* output = app.add_option("-o,--output", arguments.output, "The model to write");
  output->type_name("MODEL.lcw");
  app.add_flag("--verify", arguments.verify,
               "Read the written model and compare every value with the sources");
  CLI::Option* list =
      app.add_option("--list", arguments.list, "Print a checkpoint's tensors and do nothing else");
  list->type_name("FILE")->excludes(output);
  app.add_flag("--json", arguments.json, "Print the list as JSON")->needs(list);
  app.add_flag("--version", arguments.version, "Print the version");
}

void list(const Arguments& arguments) {
  const ListStyle style = arguments.json ? ListStyle::kJson : ListStyle::kTable;
  print_output(list_tensors(open_checkpoint(arguments.list), style), "list");
}

void convert(const Arguments& arguments) {
  const Stopwatch run;
  const Conversion conversion(arguments.conversion);
  for (const std::string& note : conversion.notes()) {
    std::fprintf(stderr, "note: %s\n", note.c_str());
  }
  const WeightsPlan& plan = conversion.plan();
  uint64_t values = 0;
  for (const PlannedTensor& tensor : plan.tensors) values += tensor.elements();
  const FillTensor fill = [&](size_t index, std::span<float> out) { conversion.fill(index, out); };
  uint64_t bytes = 0;
  {
    Progress progress("writing", plan.tensor_bytes(), run);
    bytes = write_weights(plan, fill, arguments.output, std::ref(progress));
  }
  if (arguments.verify) {
    Progress progress("verifying", plan.tensors.size(), run);
    const FillTensor fill_and_show = [&](size_t index, std::span<float> out) {
      progress(index);
      conversion.fill(index, out);
    };
    verify_weights(arguments.output, plan, fill_and_show);
  }
  std::fprintf(stderr, "%s: %zu tensors, %.1f M values, %.1f MB in %.2f s%s\n",
               printable(arguments.output).c_str(), plan.tensors.size(),
               static_cast<double>(values) / 1e6, static_cast<double>(bytes) / 1e6, run.seconds(),
               arguments.verify ? ", verified" : "");
}

void run(int argc, char** argv) {
  CLI::App app(
      "Makes one .lcw model of checkpoints. A tensor that several name is taken from the last of\n"
      "--image-encoder, --detector, --bert, --lightcap. Of a checkpoint that holds several "
      "copies,\n"
      "FILE:PATH takes the one at PATH in it, such as run.pt:state_dict.student.");
  app.get_formatter()->column_width(34);
  Arguments arguments;
  add_options(app, arguments);
  if (!parse_arguments(app, argc, argv)) return;
  if (arguments.version) {
    print_output(std::string("lightcap-convert ") + LIGHTCAP_VERSION + "\n", "version");
  } else if (!arguments.list.empty()) {
    list(arguments);
  } else if (arguments.output.empty()) {
    throw Error(ErrorCode::kUsage, "-o MODEL.lcw is missing; see --help");
  } else {
    for (const std::string& license : arguments.conversion.licenses) {
      if (!is_utf8(license)) throw Error(ErrorCode::kUsage, "--license is not UTF-8 text");
    }
    for (const DataType type : {DataType::kF32, DataType::kF16, DataType::kBf16}) {
      if (arguments.type == data_type_name(type)) arguments.conversion.type = type;
    }
    arguments.conversion.output = arguments.output;
    convert(arguments);
  }
}

}  // namespace
}  // namespace lightcap::internal

int main(int argc, char** argv) {
  return lightcap::internal::run_work([&] { lightcap::internal::run(argc, argv); });
}
