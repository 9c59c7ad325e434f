// Python pickles, read as data: nothing in one is ever looked up, imported or run.
//
// The result is a graph of nodes in one array. A node that the pickle mentions twice (its "memo")
// is one node, so graphs may share nodes and may be cyclic. References are indices, so that nothing
// recurses, and making or freeing a graph of any depth needs no stack.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_PICKLE_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_PICKLE_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/io/limits.h"

namespace lightcap::internal {

using NodeId = uint32_t;
inline constexpr NodeId kNoNode = 0xFFFFFFFF;

enum class NodeKind : uint8_t {
  kNone,
  kBool,
  kInt,
  kBigInt,  // does not fit into 64 bits; text: its bytes, little-endian, or its decimal digits
  kFloat,
  kString,
  kBytes,
  kTuple,
  kList,
  kSet,
  kDict,
  kGlobal,      // a name of Python code; text: "collections.OrderedDict"
  kObject,      // the result of calling `callable` with `arguments`, then given `state`
  kPersistent,  // something outside the pickle, known by `arguments`
};

// A call's result, or something outside the pickle.
struct Call {
  NodeId callable;   // of an object
  NodeId arguments;  // of an object (a tuple, or kNoNode), or of a persistent one
  NodeId state;      // of an object, or kNoNode
};

struct Node {
  NodeKind kind = NodeKind::kNone;
  bool keyed = false;  // of an object: its items are keys and values
  // The index in Pickle's lists of a container's or object's items; 0 is the empty list. For a
  // string, its number, which equal texts of a pickle share.
  uint32_t list = 0;
  union {
    std::string_view text = {};  // kBigInt, kString, kBytes, kGlobal
    int64_t integer;             // kInt, kBool
    double real;                 // kFloat
    Call call;                   // kObject, kPersistent
  };
};

class Pickle {
 public:
  // Reads one pickle from the start of `bytes`, which outlives this. `where` names it in messages
  // and lives as long as this. Throws Error(kCheckpoint) for malformed ones and for what no
  // checkpoint needs (extension codes, out-of-band buffers). All memory that it takes is charged
  // to `budget`, which outlives this too, and so is what questions below take.
  Pickle(std::span<const uint8_t> bytes, const char* where, Budget& budget, size_t origin = 0);

  NodeId root() const { return root_; }
  // How many bytes it took.
  size_t size() const { return size_; }
  size_t node_count() const { return nodes_.size(); }

  const Node& operator[](NodeId id) const { return nodes_[id]; }
  // The items of a tuple, list or set; for a dictionary key, value, key, value ...; for an object
  // what was appended or set on it after it was made.
  std::span<const NodeId> items(NodeId id) const;
  // The number of a string, equal for equal texts of this pickle.
  uint32_t text_number(NodeId id) const { return nodes_[id].list; }

  bool is(NodeId id, NodeKind kind) const { return id != kNoNode && nodes_[id].kind == kind; }
  bool is_global(NodeId id, std::string_view name) const {
    return is(id, NodeKind::kGlobal) && nodes_[id].text == name;
  }
  // "collections.OrderedDict" for an object made by that, or empty.
  std::string_view class_name(NodeId id) const;
  // The arguments that made an object.
  std::span<const NodeId> arguments(NodeId id) const;

  std::optional<int64_t> integer(NodeId id) const;  // bool too
  std::optional<std::string_view> string(NodeId id) const;

  // Keys and values of a dictionary, an OrderedDict, or an object of a class derived from them; in
  // order, with the last value of a repeated key. Nothing for anything else. Takes time for each
  // entry and repetition, which is charged to the budget.
  using Entry = std::pair<NodeId, NodeId>;
  std::optional<std::vector<Entry>> entries(NodeId id) const;
  // The attributes of an object: its state, where that is a dictionary.
  std::optional<std::vector<Entry>> attributes(NodeId id) const;
  // Null where there is none.
  static NodeId find(const Pickle& pickle, const std::vector<Entry>& entries, std::string_view key);

 private:
  friend class PickleMachine;

  // A run of items_.
  struct List {
    size_t begin = 0;
    uint32_t count = 0, capacity = 0;
  };

  std::vector<Entry> merge(std::span<const NodeId> pairs, std::span<const NodeId> flat) const;

  Budget& budget_;
  std::deque<Node> nodes_;  // grows without moving what is there
  std::vector<List> lists_;
  std::vector<NodeId> items_;
  std::deque<std::string> texts_;  // those that are not in the pickle as they are
  // By the number of a text: where merge() has put its entry, from 1 on. All 0 outside of it.
  mutable std::vector<uint32_t> places_;
  NodeId root_ = kNoNode;
  size_t size_ = 0;
};

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_PICKLE_H_
