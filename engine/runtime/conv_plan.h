// How a session computes its convolutions. The choice is made once, when the session opens, from
// the sizes that the graph will run at, so that neither the graph nor a caption decides anything.
#ifndef LIGHTCAP_ENGINE_RUNTIME_CONV_PLAN_H_
#define LIGHTCAP_ENGINE_RUNTIME_CONV_PLAN_H_

#include <cstddef>
#include <memory>
#include <unordered_map>

#include "engine/runtime/tensor.h"
#include "engine/runtime/winograd.h"
#include "kernels/packed_matrix.h"

namespace lightcap::internal {

struct Conv;

// The algorithm of each convolution: Winograd's filtering for those that have an entry, a direct
// convolution for all others. Not for use on several threads before it is chosen. A plan is first
// shown every convolution (see), then chooses, and is constant afterwards.
class ConvPlan {
 public:
  // Remembers that `conv` runs over inputs of this size; of several sizes the largest counts. Only
  // before choose().
  void see(const Conv& conv, size_t height, size_t width);
  // Gives Winograd's filtering to the 3x3 convolutions of stride 1 where it pays, those first that
  // save most arithmetic for a byte, until their transformed weights take `budget` bytes more than
  // the weights that they replace; those that need not be kept transformed get it beyond that, too.
  // The weights come from `cache`, not yet transformed.
  void choose(WinogradCache& cache, size_t budget);
  // Transforms the chosen layers' weights, unless another session of the model has done so.
  void prepare(ThreadPool& pool) const;

  // Uses `winograd` for the convolution with these weights, whatever a policy would say.
  void set(const PackedMatrix& weights, std::shared_ptr<WinogradWeights> winograd);
  // Null for a direct convolution; else weights that the plan shares with others and keeps.
  const WinogradWeights* winograd(const Conv& conv) const;
  // Memory that the transformed weights take, less what they give back of the file.
  size_t extra_bytes() const;
  // choose() or set() has been called: see() no longer matters.
  bool is_chosen() const { return is_chosen_; }

 private:
  struct Seen {
    PackedMatrix weights;
    size_t height, width;
  };
  // Convolutions are told apart by the address of their weights.
  std::unordered_map<const void*, Seen> seen_;
  std::unordered_map<const void*, std::shared_ptr<WinogradWeights>> winograd_;
  bool is_chosen_ = false;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_RUNTIME_CONV_PLAN_H_
