(ns quorate.checkers.observations
  "Acknowledged reports are never lost: a set in full.

  A node counts its reports; :add of [node number] is :ok when the leader said that it took the report. At the end each node
  hands out what it applied (:reports), with the index of each and the stretches of the log that it covers. An acknowledged
  report that is in no recording is lost, unless its place could be in a stretch that nobody recorded. One number applied
  twice at different places is a report that was counted twice."
  (:require [quorate.history :as h]))

(defn- gap? "Whether some index in [from to] is in no covered stretch." [covered from to]
  (loop [at from, spans (sort covered)]
    (if (> at to)
      false
      (if-let [[a b] (first (filter (fn [[a b]] (<= a at b)) spans))]
        (recur (inc b) spans)
        true))))

(defn check [history]
  (let [recordings (map :value (h/oks history :reports))
        covered (h/merged (mapcat :covered recordings))
        places (reduce (fn [places [node number index]] (update places [node number] (fnil conj #{}) index))
                       {} (mapcat :elements recordings))
        by-node (reduce (fn [all [[node number] indices]] (assoc-in all [node number] (apply min indices))) {} places)
        acknowledged (distinct (map :value (h/oks history :add)))
        lost? (fn [[node number]]
                (when-not (contains? places [node number])
                  (let [numbers (get by-node node)
                        before (reduce max 0 (keep (fn [[n i]] (when (< n number) i)) numbers))
                        after (seq (keep (fn [[n i]] (when (> n number) i)) numbers))]
                    ;; Without a later report of the node its place may be beyond all that was recorded.
                    (and after (not (gap? covered (max 1 before) (apply min after)))))))]
    (if (empty? recordings)
      {:valid? true :violations [] :unknown (count acknowledged)}
      (assoc (h/verdict :observations
                        (concat
                         (for [element acknowledged :when (lost? element)]
                           (str "report " (second element) " of node " (first element) " was acknowledged and is in no recording"))
                         (for [[[node number] indices] places :when (> (count indices) 1)]
                           (str "report " number " of node " node " was applied at " (sort indices)))))
             :acknowledged (count acknowledged)
             :unknown (count (remove #(or (contains? places %) (lost? %)) acknowledged))))))
