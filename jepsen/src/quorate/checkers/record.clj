(ns quorate.checkers.record
  "Invariant 5: a record never goes empty, and never takes a value that is no region's.

  After every write that the witness took, and in every answer that anybody got from a nameserver."
  (:require [quorate.history :as h]))

(defn- wrong [history what {{:keys [service values]} :value :keys [time]}]
  (let [regions (get-in (h/services history) [service :values])]
    (cond
      (empty? values) [(str service ": " what " left the record empty at " (h/ms time) " ms")]
      (not-any? #(= (set values) (set %)) (clojure.core/vals regions))
      [(str service ": " what " made it " (vec values) " at " (h/ms time) " ms, which no region has")])))

(defn check [history]
  (h/verdict 5 (distinct
                (concat (mapcat #(wrong history (str "epoch " (get-in % [:value :epoch])) %) (filter h/standing? (h/writes history)))
                        (mapcat #(wrong history "somebody" %) (h/infos history :witness :answer))))))
