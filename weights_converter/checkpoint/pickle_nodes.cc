// How the pickle machine makes nodes and lists, and charges them.
#include <algorithm>

#include "weights_converter/checkpoint/pickle_machine.h"

namespace lightcap::internal {

NodeId PickleMachine::add(const Node& node) {
  if (pickle_.nodes_.size() >= kNoNode) fail("it holds more values than 32 bits can number");
  pickle_.budget_.charge(sizeof(Node));
  pickle_.nodes_.push_back(node);
  return static_cast<NodeId>(pickle_.nodes_.size() - 1);
}

NodeId PickleMachine::make(NodeKind kind) {
  Node node;
  node.kind = kind;
  return add(node);
}

NodeId PickleMachine::make_text(NodeKind kind, std::string_view text) {
  Node node;
  node.kind = kind;
  node.text = text;
  return add(node);
}

NodeId PickleMachine::make_int(int64_t value, NodeKind kind) {
  Node node;
  node.kind = kind;
  node.integer = value;
  return add(node);
}

NodeId PickleMachine::make_float(double value) {
  Node node;
  node.kind = NodeKind::kFloat;
  node.real = value;
  return add(node);
}

NodeId PickleMachine::constant(NodeId& cached, NodeKind kind, int64_t value) {
  if (cached == kNoNode) cached = make_int(value, kind);
  return cached;
}

NodeId PickleMachine::make_list(NodeKind kind, Values items) {
  const NodeId id = make(kind);
  append(id, items);
  return id;
}

NodeId PickleMachine::make_object(NodeId callable, NodeId arguments) {
  Node node;
  node.kind = NodeKind::kObject;
  node.call = {callable, arguments, kNoNode};
  return add(node);
}

NodeId PickleMachine::make_persistent(NodeId id) {
  Node node;
  node.kind = NodeKind::kPersistent;
  node.call = {kNoNode, id, kNoNode};
  return add(node);
}

NodeId PickleMachine::make_global(std::string_view module, std::string_view name) {
  // Python 2's name of the same module.
  if (module == "__builtin__") module = "builtins";
  const uint64_t size = uint64_t{module.size()} + 1 + name.size();
  if (size > limits::kMaxClassName) {
    fail("a class's name has " + std::to_string(size) + " bytes, the limit is " +
         std::to_string(limits::kMaxClassName));
  }
  pickle_.budget_.charge(size);
  std::string joined;
  joined.reserve(size);
  joined += module;
  joined += '.';
  joined += name;
  return make_text(NodeKind::kGlobal, keep(std::move(joined)));
}

std::string_view PickleMachine::keep(std::string text) {
  pickle_.budget_.charge(sizeof(std::string));
  return pickle_.texts_.emplace_back(std::move(text));
}

// Lists lie one behind the other in one array. One that outgrows its place moves to the end and
// takes twice its size there, so that appending item by item stays linear.
void PickleMachine::append(NodeId id, Values more) {
  if (more.empty()) return;
  Node& node = pickle_.nodes_[id];
  if (node.list == 0) {
    pickle_.budget_.charge(sizeof(Pickle::List));
    node.list = static_cast<uint32_t>(pickle_.lists_.size());
    pickle_.lists_.emplace_back();
  }
  Pickle::List& list = pickle_.lists_[node.list];
  std::vector<NodeId>& items = pickle_.items_;
  const size_t wanted = list.count + more.size();
  if (wanted > list.capacity) {
    const size_t capacity = std::max<size_t>(wanted, 2 * list.capacity);
    const bool last = list.begin + list.capacity == items.size();
    const size_t begin = last ? list.begin : items.size();
    if (capacity > UINT32_MAX) fail("a list is too long");
    grow(items, begin + capacity, kNoNode);
    if (!last) std::copy_n(&items[list.begin], list.count, &items[begin]);
    list.begin = begin;
    list.capacity = static_cast<uint32_t>(capacity);
  }
  std::copy(more.begin(), more.end(),
            items.begin() + static_cast<ptrdiff_t>(list.begin + list.count));
  list.count = static_cast<uint32_t>(wanted);
}

// Gives equal texts equal numbers, from 1 on, so that nobody has to compare them again: one that a
// pickle mentions many times would be read each time.
void PickleMachine::number_texts() {
  std::vector<NodeId> sorted;
  for (size_t id = 0; id < pickle_.nodes_.size(); ++id) {
    if (pickle_.nodes_[id].kind == NodeKind::kString) add_to(sorted, static_cast<NodeId>(id));
  }
  const auto text = [this](NodeId id) { return pickle_.nodes_[id].text; };
  std::sort(sorted.begin(), sorted.end(), [&](NodeId a, NodeId b) { return text(a) < text(b); });
  uint32_t number = 0;
  for (size_t i = 0; i < sorted.size(); ++i) {
    if (i == 0 || text(sorted[i]) != text(sorted[i - 1])) ++number;
    pickle_.nodes_[sorted[i]].list = number;
  }
  pickle_.budget_.charge((uint64_t{number} + 1) * sizeof(uint32_t));
  pickle_.places_.assign(size_t{number} + 1, 0);
}

}  // namespace lightcap::internal
