#include "bench/measure/shapes.h"

#include <set>
#include <string_view>

#include "engine/runtime/observer.h"

namespace lightcap::internal::bench {
namespace {

constexpr const char* kHeader =
    "# name kernel height width channels kernel_size stride out; by lightcap bench --shapes\n";

// Sees the session plan, which runs every stage once for the largest inputs.
class Shapes final : public Observer {
 public:
  std::map<std::string, std::string> blocks;

  void begin(const LayerWork& work) override {
    std::string name(work.name);
    if (name.empty()) {
      name = previous_ + ">" + std::string(work.kernel);
    } else {
      previous_ = name;
    }
    std::string shape(work.kernel);
    for (const size_t number :
         {work.height, work.width, work.channels, work.kernel_size, work.stride, work.out}) {
      (shape += " ") += std::to_string(number);
    }
    const std::string block = block_of(name);
    if (!seen_.insert(block + " " + shape).second) return;
    std::string& lines = blocks[block];
    if (lines.empty()) lines = kHeader;
    lines += name + " " + shape + "\n";
  }
  void end() override {}
  void task_begin() override {}
  void task_end() override {}

 private:
  static std::string block_of(std::string_view name) {
    if (name.starts_with("image_encoder.")) return "encoder";
    if (name.starts_with("detector.")) return "detector";
    return name.starts_with("head") ? "head" : "fusion";
  }

  std::set<std::string> seen_;
  std::string previous_;
};

}  // namespace

std::map<std::string, std::string> graph_shapes(std::shared_ptr<const Model> model,
                                                const KernelTable& kernels) {
  Shapes shapes;
  SessionOptions options;
  options.kernels = &kernels;
  options.observer = &shapes;
  const Session session(std::move(model), options);
  return std::move(shapes.blocks);
}

}  // namespace lightcap::internal::bench
