(ns quorate.checkers.states
  "Invariant 8: equal logs give equal states: every node's state hash at an index is the same."
  (:require [quorate.history :as h]))

(defn check [history]
  (h/verdict 8 (for [[index told] (group-by #(get-in % [:value :applied]) (h/oks history :hash))
                     :let [hashes (group-by :hash (map :value told))]
                     :when (> (count hashes) 1)]
                 (str "at index " index " the states differ: "
                      (into (sorted-map) (for [[hash of] hashes] [hash (vec (sort (distinct (map :node of))))]))))))
