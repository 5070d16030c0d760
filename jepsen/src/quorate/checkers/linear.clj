(ns quorate.checkers.linear
  "Linearizability of a service as a register: a manual switch with an expected epoch is a compare-and-set, a verdict is a read.

  The state is [epoch region]. A search in the manner of Wing and Gong with the memory of Lowe: take any operation that could
  be next (nothing that is left ended before it began), apply it, remember where one has been. An operation with an unknown
  outcome may take effect at any time after it began, or never. Several services are several registers: each on its own."
  (:require [quorate.history :as h]))

(defn- step
  "The state after the operation, or nil where it cannot have happened then."
  [[epoch _ :as state] {:keys [f expected to seen]}]
  (case f
    :read (when (= state seen) state)
    :switch (when (= epoch expected) [(inc epoch) to])))

(defn- operations
  "What counts, in the order of invocation: reads that were answered, switches that were or may have been made."
  [history service]
  (vec
   (keep (fn [{:keys [f time value completed]}]
           (let [type (:type completed :info)]
             (when (= service (:service value))
               (case [f type]
                 [:read :ok] {:f :read :began time :ended (:time completed)
                              :seen [(get-in completed [:value :epoch]) (get-in completed [:value :region])]}
                 [:switch :ok] {:f :switch :began time :ended (:time completed) :must true
                                :expected (:expected value) :to (:to value)}
                 [:switch :info] {:f :switch :began time :ended Long/MAX_VALUE
                                  :expected (:expected value) :to (:to value)}
                 nil))))
         (sort-by :time (h/pairs history)))))

(defn- candidates
  "The operations that could be next: begun before the first end of all that is left."
  [left]
  (let [first-end (reduce min Long/MAX_VALUE (map :ended left))]
    (filter #(<= (:began %) first-end) left)))

(defn- must? [operation] (or (= :read (:f operation)) (:must operation)))

(defn- without [left operation] (remove #(identical? operation %) left))

(defn- prune
  "Switches of unknown fate whose epoch is over can never take effect any more."
  [left [epoch _]]
  (remove #(and (not (must? %)) (< (:expected %) epoch)) left))

(defn- sections
  "Cuts a history where nothing is under way, so that each search is small. Switches of unknown fate
  are carried from one to the next by the caller."
  [operations]
  (loop [left (seq operations), group [], latest -1, groups []]
    (if-let [operation (first left)]
      (let [ended (if (must? operation) (:ended operation) latest)]
        (if (and (seq group) (> (:began operation) latest))
          (recur (next left) [operation] (max latest ended) (conj groups group))
          (recur (next left) (conj group operation) (max latest ended) groups)))
      (if (seq group) (conj groups group) groups))))

(defn- reachable
  "Every state in which a section can end, with what of unknown fate is still open then; empty when it has no order."
  [section [state open]]
  (loop [stack (list [state (concat open section)]), seen #{}, ends #{}]
    (if-let [[state left] (first stack)]
      (let [left (prune left state)
            key [state (set (map :id left))]]
        (if (contains? seen key)
          (recur (rest stack) seen ends)
          (let [ends (if (not-any? must? left) (conj ends [state (vec left)]) ends)
                next (for [operation (candidates left)
                           :let [after (step state operation)] :when after]
                       [after (without left operation)])]
            (recur (into (rest stack) next) (conj seen key) ends))))
      ends)))

(defn- violation [service operations initial]
  (let [numbered (map-indexed #(assoc %2 :id %1) operations)]
    (loop [states #{[initial []]}, groups (sections numbered)]
      (when-let [group (first groups)]
        (let [after (set (mapcat #(reachable group %) states))]
          (if (empty? after)
            (str service ": no order explains " (count group) " operations from "
                 (h/ms (:began (first group))) " ms on, in any of the states " (vec (map first states)) ": "
                 (vec (take 6 (map #(dissoc % :ended :began :id :must) group))))
            (recur after (next groups))))))))

(defn check [history]
  (h/verdict :linearizability
             (keep (fn [[service {:keys [register]}]]
                     (when register
                       (violation service (operations history service) register)))
                   (h/services history))))
